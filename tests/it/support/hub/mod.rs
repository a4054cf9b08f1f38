//! A SyftHub on loopback that follows the real one's contract: its accounts, sessions and tokens, its lists of
//! endpoints with every limit, its satellites and reports, and how it refuses. It keeps what it is asked, and
//! can be slow, failing or wrong, one route at a time. Routes have names, see [`ROUTES`].

mod accounts;
mod endpoints;
mod reports;
mod routes;
mod rules;
mod satellites;
mod script;
mod server;
mod tokens;

use std::{net::SocketAddr, sync::Arc};

use serde_json::{Map, Value};
use syft_endpoints::domain::{Credential, NewMarketplace};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use reports::Report;
pub use routes::ROUTES;
pub use script::{Fault, Recorded, Trouble};
pub use tokens::{ISSUER, KEY_ID, OWNER, claims, header, jwk, key, now, sign, signed, token, unsigned};

use script::Inner;

/// What enters the account [`OWNER`], whose e-mail address is [`OWNER_EMAIL`].
pub const API_TOKEN: &str = "syft_pat_canary-of-the-hub-4718";
pub const PASSWORD: &str = "canary & Pass/word-4720";
pub const OWNER_EMAIL: &str = "Owner@hub.example";

/// A hub. It stops when it is dropped.
pub struct Hub {
    pub address: SocketAddr,
    inner: Arc<Inner>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Hub {
    /// A hub with the users 2 (`Asker@example.com`) and 3 (`other@example.com`), and the account [`OWNER`].
    /// It needs no proof of e-mail addresses, and knows no satellites.
    pub async fn start() -> Self {
        let inner = Arc::new(Inner::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let hub = Self { address, inner, stop, tasks };
        hub.serve(listener);
        hub
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The account [`OWNER`], as a space keeps it that is connected to it by an API token.
    pub fn account(&self) -> NewMarketplace {
        NewMarketplace {
            name: self.address.to_string(),
            username: OWNER.to_owned(),
            url: self.url(),
            issuers: vec![ISSUER.to_owned()],
            email: OWNER_EMAIL.to_owned(),
            credential: Credential::ApiToken(API_TOKEN.to_owned().into()),
        }
    }

    /// Stops listening, ends every connection, and waits until that is done.
    pub async fn die(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }

    /// Comes back with everything that it knew, and signs with another [`key`] from now on.
    pub async fn restart(&mut self, key: usize) {
        self.come_back(self.address.port(), key).await;
    }

    /// Comes back at another address.
    pub async fn restart_elsewhere(&mut self, key: usize) {
        self.come_back(0, key).await;
    }

    async fn come_back(&mut self, port: u16, key: usize) {
        self.die().await;
        (self.stop, self.tasks) = (CancellationToken::new(), TaskTracker::new());
        self.show_keys(&[(KEY_ID, key)]);
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        self.address = listener.local_addr().unwrap();
        self.serve(listener);
    }

    fn serve(&self, listener: TcpListener) {
        let serve = server::serve(Arc::clone(&self.inner), listener, self.stop.clone(), self.tasks.clone());
        self.tasks.spawn(serve);
        self.tasks.close();
    }

    /// Shows other keys from now on: names, and which of [`key`] each is.
    pub fn show_keys(&self, keys: &[(&str, usize)]) {
        self.inner.state().keys = keys.iter().map(|(id, n)| ((*id).to_owned(), *n)).collect();
    }

    /// A token for an account or a satellite, signed with the first key that is shown.
    pub fn mint(&self, sub: &str, audience: &str) -> String {
        let (id, key) = self.inner.state().keys[0].clone();
        let (mut header, mut claims) = (header(), claims(sub));
        header["kid"] = id.into();
        claims["aud"] = audience.into();
        signed(&header, &claims, key)
    }

    /// Closes a user's account.
    pub fn close_account(&self, sub: &str) {
        self.inner.state().users.remove(sub);
    }

    /// Whether accounts must prove their e-mail addresses by a code.
    pub fn ask_for_proof(&self, asks: bool) {
        self.inner.state().asks_for_proof = asks;
    }

    /// The code that was last sent to an e-mail address.
    pub fn otp(&self, email: &str) -> Option<String> {
        self.inner.state().otp(email)
    }

    /// Makes an account as if somebody had registered. It is proved.
    pub fn add_account(&self, username: &str, email: &str, password: &str) {
        self.inner.state().add_account(username, email, password);
    }

    pub fn set_password(&self, username: &str, password: &str) {
        self.inner.state().account_mut(username).unwrap().password = password.to_owned();
    }

    /// Refuses every access token that it has given out.
    pub fn expire_access_tokens(&self) {
        self.inner.state().access_tokens.clear();
    }

    /// Refuses every refresh token that it has given out.
    pub fn revoke_refresh_tokens(&self) {
        self.inner.state().refresh_tokens.clear();
    }

    /// The accounting account of whoever asks, as older hubs have one.
    pub fn know_accounting(&self, account: Value) {
        self.inner.state().accounting = Some(account);
    }

    /// Whether it knows satellites, as newer hubs do.
    pub fn know_satellites(&self, knows: bool) {
        self.inner.state().knows_satellites = knows;
    }

    /// Adds a satellite of [`OWNER`], and returns its id.
    pub fn add_satellite(&self, base_url: &str) -> String {
        self.inner.state().add_satellite(OWNER, "space", base_url)
    }

    /// Takes an origin for a station, which no space may have.
    pub fn add_station(&self, base_url: &str) {
        self.inner.state().add_satellite("somebody", "station", base_url);
    }

    pub fn remove_satellites(&self) {
        self.inner.state().satellites.clear();
    }

    /// Ids and base URLs of the satellites of [`OWNER`].
    pub fn satellites(&self) -> Vec<(String, String)> {
        self.inner.state().satellites_of(OWNER)
    }

    /// The domain of [`OWNER`].
    pub fn domain(&self) -> Option<String> {
        self.inner.state().account_mut(OWNER)?.domain.clone()
    }

    /// How many endpoints it takes in one sync.
    pub fn limit_sync(&self, endpoints: usize) {
        self.inner.state().max_sync = endpoints;
    }

    /// What [`OWNER`] lists under a slug.
    pub fn listed(&self, slug: &str) -> Option<Map<String, Value>> {
        self.inner.state().endpoint(OWNER, slug).cloned()
    }

    /// The slugs that [`OWNER`] lists, in order.
    pub fn slugs(&self) -> Vec<String> {
        self.inner.state().slugs(OWNER)
    }

    /// Lists an endpoint of [`OWNER`] as if another space had.
    pub fn list(&self, endpoint: Value) {
        self.inner.state().list(OWNER, endpoint, None);
    }

    /// Forgets an endpoint of [`OWNER`] as if somebody had taken it away by hand.
    pub fn unlist(&self, slug: &str) {
        self.inner.state().endpoints.remove(&(OWNER.to_owned(), slug.to_owned()));
    }

    /// Every endpoint that a report has updated, one after the other.
    pub fn reports(&self) -> Vec<Report> {
        self.inner.state().reports.clone()
    }

    /// The slugs that [`OWNER`] lists of which a report ended before the next one came, or has ended by now, on the
    /// hub's clock; one for each time. Of what was never reported nothing is said.
    pub fn lapses(&self) -> Vec<String> {
        self.inner.state().lapses()
    }

    /// Sets the hub's clock ahead of ours.
    pub fn set_skew(&self, seconds: i64) {
        self.inner.state().skew = time::Duration::seconds(seconds);
    }

    /// Answers the calls of a route with this from now on.
    pub fn fail(&self, route: &'static str, fault: Fault) {
        self.trouble(route, usize::MAX, Trouble::Answer(fault));
    }

    /// Answers only the next calls of a route with this.
    pub fn fail_next(&self, route: &'static str, times: usize, fault: Fault) {
        self.trouble(route, times, Trouble::Answer(fault));
    }

    /// Meets the next calls of a route with trouble, after what it was told before.
    pub fn trouble(&self, route: &'static str, times: usize, trouble: Trouble) {
        self.inner.trouble(route, times, trouble);
    }

    pub fn recover(&self) {
        self.inner.recover();
    }

    /// Keeps every answer back until [`Hub::release`].
    pub fn hold(&self) {
        ROUTES.iter().for_each(|route| self.hold_route(route));
    }

    /// Keeps a route's answers back, before it acts, until [`Hub::release`].
    pub fn hold_route(&self, route: &'static str) {
        self.inner.held.send_modify(|held| _ = held.insert(routes::known(route)));
    }

    pub fn release(&self) {
        self.inner.held.send_modify(std::collections::HashSet::clear);
    }

    /// How often its keys have been asked for.
    pub fn fetches(&self) -> usize {
        self.calls("jwks")
    }

    /// How often it has been asked whose a token is.
    pub fn verifications(&self) -> usize {
        self.calls("verify")
    }

    /// How often a route has been called.
    pub fn calls(&self, route: &'static str) -> usize {
        let route = routes::known(route);
        self.inner.state().received.iter().filter(|call| call.route == route).count()
    }

    /// Everything that has been received, in order.
    pub fn received(&self) -> Vec<Recorded> {
        self.inner.state().received.clone()
    }

    /// The bodies that a route has been sent, in order.
    pub fn bodies(&self, route: &'static str) -> Vec<Value> {
        let route = routes::known(route);
        let received = self.received();
        let bodies = received.iter().filter(|call| call.route == route).map(|call| &call.body);
        bodies.map(|body| serde_json::from_str(body).unwrap_or_else(|_| body.as_str().into())).collect()
    }

    pub fn forget_received(&self) {
        self.inner.state().received.clear();
    }

    /// Sees how many calls have been received, as they come.
    pub fn watch(&self) -> watch::Receiver<usize> {
        self.inner.count.subscribe()
    }
}
