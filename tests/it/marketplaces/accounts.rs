//! Accounts are made, proved, entered and left.

use serde_json::json;
use syft_endpoints::proto::{
    CheckUsernameRequest, ConnectMarketplaceRequest, GetMarketplaceRequest, ResendOtpRequest,
    VerifyOtpRequest,
};
use tonic::Code;

use super::{bearer, by_password, by_token, connect, delete, listed, registration, space};
use crate::support::{
    database::Database,
    hub::{self, Hub},
    on_both,
    rest::Rest,
    space::reason,
};

on_both! {
    async fn an_account_is_entered_by_its_password_or_a_token(database: Database) {
        let hub = Hub::start().await;
        let space = space(database, &hub, &[]).await;
        let mut owner = space.admin().await;
        let first = connect(&mut owner, by_password("SpaceOwner", hub::PASSWORD)).await.unwrap();
        let shown = (first.username.as_str(), first.email.as_str(), first.url.as_str(), first.name.as_str());
        let address = hub.address.to_string();
        assert_eq!(shown, (hub::OWNER, "owner@hub.example", hub.url().as_str(), address.as_str()));
        assert!(first.is_default && first.is_active && !first.is_configured && first.report_time.is_none());
        // In another way, under another spelling of the URL: the same marketplace.
        let url = format!("{}//", hub.url().replace("http", "HTTP"));
        for request in [by_token(), by_password(hub::OWNER_EMAIL, hub::PASSWORD)] {
            let again = connect(&mut owner, ConnectMarketplaceRequest { url: url.clone(), ..request }).await.unwrap();
            assert_eq!((&again.id, &again.username, again.is_default), (&first.id, &first.username, true));
        }
        let request = GetMarketplaceRequest { id: first.id.clone() };
        let got = owner.marketplaces.get_marketplace(request).await.unwrap().into_inner().marketplace.unwrap();
        assert_eq!(listed(&mut owner).await, std::slice::from_ref(&got));
        assert!(got.id == first.id && got.create_time == first.create_time);
        // A second one does not speak for the owner.
        let other = Hub::start().await;
        let second = ConnectMarketplaceRequest { url: other.url(), ..by_token() };
        assert!(!connect(&mut owner, second).await.unwrap().is_default);
        assert_eq!(listed(&mut owner).await.len(), 2);
    }

    async fn an_account_is_made(database: Database) {
        let hub = Hub::start().await;
        let space = space(database, &hub, &[]).await;
        let mut owner = space.admin().await;
        let made = owner.marketplaces.register_marketplace(registration("Amy_1", "Amy@example.org")).await;
        let made = made.unwrap().into_inner();
        assert!(!made.verification_required);
        let made = made.marketplace.unwrap();
        assert_eq!((made.username.as_str(), made.email.as_str()), ("amy_1", "amy@example.org"));
        assert_eq!(listed(&mut owner).await, [made]);
        // A name that is taken becomes another one, and the hub says which.
        let variant = owner.marketplaces.register_marketplace(registration(hub::OWNER, "b@example.org")).await;
        assert_eq!(variant.unwrap().into_inner().marketplace.unwrap().username, format!("{}1", hub::OWNER));
        let taken = owner.marketplaces.register_marketplace(registration("amy_2", "amy@example.org")).await;
        let taken = taken.unwrap_err();
        assert_eq!((taken.code(), reason(&taken).as_str()), (Code::FailedPrecondition, "HUB_REJECTED"));
        assert!(taken.message().contains("Email already registered"), "{taken:?}");
    }

    async fn an_account_is_proved_by_a_code(database: Database) {
        let hub = Hub::start().await;
        hub.ask_for_proof(true);
        let space = space(database, &hub, &[]).await;
        let mut owner = space.admin().await;
        let email = "amy@example.org";
        let made = owner.marketplaces.register_marketplace(registration("amy", email)).await.unwrap().into_inner();
        assert!(made.verification_required && made.marketplace.is_none());
        assert!(listed(&mut owner).await.is_empty(), "it is stored before it can be entered");
        let unproved = connect(&mut owner, by_password("amy", hub::PASSWORD)).await.unwrap_err();
        assert!(unproved.message().contains("verify your email"), "{unproved:?}");
        let sent = hub.otp(email).unwrap();
        let resend = ResendOtpRequest { email: email.to_uppercase(), url: String::new() };
        owner.marketplaces.resend_otp(resend).await.unwrap();
        let code = hub.otp(email).unwrap();
        assert_ne!(code, sent);
        let proof = |code: &str, password: &str| VerifyOtpRequest {
            email: email.to_owned(), password: password.to_owned(), code: code.to_owned(), url: String::new(),
        };
        let wrong = owner.marketplaces.verify_otp(proof(&sent, hub::PASSWORD)).await.unwrap_err();
        assert_eq!((wrong.code(), reason(&wrong).as_str()), (Code::FailedPrecondition, "HUB_REJECTED"));
        assert!(listed(&mut owner).await.is_empty());
        let proved = owner.marketplaces.verify_otp(proof(&code, hub::PASSWORD)).await.unwrap().into_inner();
        assert_eq!(listed(&mut owner).await, [proved.marketplace.unwrap()]);
        // A code is good once; and a password that enters nothing is not kept.
        let again = owner.marketplaces.verify_otp(proof(&code, hub::PASSWORD)).await.unwrap_err();
        assert_eq!(reason(&again), "HUB_REJECTED");
        let id = listed(&mut owner).await.remove(0).id;
        delete(&mut owner, &id).await.unwrap();
        owner.marketplaces.register_marketplace(registration("bob", "bob@example.org")).await.unwrap();
        let mistaken = VerifyOtpRequest {
            email: "bob@example.org".to_owned(), ..proof(&hub.otp("bob@example.org").unwrap(), "another-1")
        };
        assert_eq!(reason(&owner.marketplaces.verify_otp(mistaken).await.unwrap_err()), "HUB_REJECTED");
        assert!(listed(&mut owner).await.is_empty());
        connect(&mut owner, by_password("bob", hub::PASSWORD)).await.unwrap();
    }

    async fn its_tokens_are_good_while_it_is_connected(database: Database) {
        let hub = Hub::start().await;
        let space = space(database, &hub, &[]).await;
        let mut owner = space.admin().await;
        let dataset = owner.dataset("docs").await;
        owner.endpoint("open", Some(&dataset), None).await;
        let token = hub::token("2");
        let mut asker = bearer(&space, &token).await;
        assert_eq!(asker.query("open").await.unwrap_err().code(), Code::Unauthenticated);
        for request in [by_password(hub::OWNER, hub::PASSWORD), by_token()] {
            let id = connect(&mut owner, request).await.unwrap().id;
            asker.query("open").await.unwrap();
            // Whose it is, is known already: it must not matter.
            delete(&mut owner, &id).await.unwrap();
            let refused = asker.query("open").await.unwrap_err();
            assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "UNAUTHENTICATED"));
            assert!(listed(&mut owner).await.is_empty());
            let gone = owner.marketplaces.get_marketplace(GetMarketplaceRequest { id: id.clone() }).await.unwrap_err();
            assert_eq!((gone.code(), reason(&gone).as_str()), (Code::NotFound, "RESOURCE_NOT_FOUND"));
            assert_eq!(delete(&mut owner, &id).await.unwrap_err().code(), Code::NotFound);
        }
    }

    async fn rest_tells_it_as_the_reference_does(database: Database) {
        let hub = Hub::start().await;
        hub.ask_for_proof(true);
        let space = space(database, &hub, &[]).await;
        let rest = Rest::admin(&space);
        let at = |path: &str| format!("/api/v1/marketplaces/{path}");
        let (url, email) = (hub.url(), "amy@example.org");
        let new = json!({"name": "Amy", "username": "amy", "email": email, "password": hub::PASSWORD, "url": url});
        let begun = rest.post(&at("register"), new).await.expect(202);
        assert!(begun["message"].is_string());
        assert_eq!((&begun["code"], &begun["email"], &begun["url"]), (&json!("EMAIL_VERIFICATION_REQUIRED"), &json!(email), &json!(url)));
        let resent = rest.post(&at("resend-otp"), json!({"email": email})).await.expect(200);
        let nobody = rest.post(&at("resend-otp"), json!({"email": "nobody@example.org"})).await.expect(200);
        assert_eq!(resent, nobody);
        let proof = json!({"email": email, "password": hub::PASSWORD, "code": hub.otp(email).unwrap()});
        let proved = rest.post(&at("verify-otp"), proof).await.expect(201);
        let id = proved["id"].as_str().unwrap().to_owned();
        assert_eq!(rest.get(&at(&id)).await.expect(200), proved);
        let fields = ["created_at", "email", "id", "is_active", "is_configured", "is_default", "name", "updated_at", "url", "username"];
        assert!(proved.as_object().unwrap().keys().eq(fields), "{proved}");
        let connected = rest.post(&at("connect"), json!({"username": "amy", "password": hub::PASSWORD})).await.expect(201);
        assert_eq!(connected["id"], proved["id"]);
        let by_token = rest.post(&at("connect"), json!({"api_token": hub::API_TOKEN, "username": null})).await.expect(201);
        assert_eq!((&by_token["id"], &by_token["username"]), (&proved["id"], &json!(hub::OWNER)));
        let item = rest.get(&at("")).await.expect(200)[0].clone();
        for (field, value) in [("published", json!(0)), ("pending", json!(0)), ("failed", json!(0)), ("reported_at", json!(null)), ("report_error", json!(null)), ("username", json!(hub::OWNER))] {
            assert_eq!(item[field], value, "{field}");
        }
        let wrong = rest.post(&at("connect"), json!({"username": "amy", "password": "no"})).await;
        assert_eq!(wrong.expect(424), json!({"detail": "The marketplace refuses: Incorrect username or password"}));
        for (name, free) in [("amy", false), ("SpaceOwner", false), ("nobody", true)] {
            let path = at(&format!("check-username/{name}"));
            assert_eq!(rest.get(&path).await.expect(200), json!(free), "{name}");
            assert_eq!(rest.get(&format!("{path}?url={url}")).await.expect(200), json!(free), "{name}");
        }
        let gone = rest.call("DELETE", &at(&id), None).await.expect(200);
        assert_eq!(gone, json!({"message": format!("Successfully deleted marketplace '{id}'")}));
        rest.get(&at(&id)).await.expect(404);
        rest.call("DELETE", &at(&id), None).await.expect(404);
    }

    async fn names_are_asked_for_at_the_hub(database: Database) {
        let hub = Hub::start().await;
        let space = space(database, &hub, &[]).await;
        let mut owner = space.admin().await;
        for (username, free) in [("SpaceOwner", false), ("nobody", true)] {
            let request = CheckUsernameRequest { username: username.to_owned(), url: String::new() };
            assert_eq!(owner.marketplaces.check_username(request).await.unwrap().into_inner().available, free);
        }
    }
}
