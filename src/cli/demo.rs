//! `demo`: the whole service on a fresh machine, seen from outside.

mod setup;

use std::{io::Write, net::SocketAddr, process::ExitCode, time::Instant};

use clap::Args;
use syft_endpoints::{
    app::App,
    config::Config,
    error::Cause,
    proto::{StopSequences, StreamQueryRequest, query::Messages, stream_query_response::Event},
    telemetry::{Metrics, logs},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    channel::ServerArgs,
    client::{Client, ClientArgs},
    output,
    serve::on_signal,
};

const QUESTION: &str = "What happens to a query when the client goes away?";

#[derive(Args)]
pub(super) struct Demo {
    /// Exit after the answer instead of serving on
    #[arg(long)]
    once: bool,
    /// Address and port [default: 127.0.0.1:8080, or a free port when it is taken]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The question to ask
    #[arg(long, default_value = QUESTION)]
    question: String,
}

impl Demo {
    pub(super) async fn run(self) -> Result<ExitCode, Cause> {
        let folder = tempfile::tempdir()?;
        let (app, client) = self.start(folder.path()).await?;
        let address = app.local_addr()?;
        let shutdown = CancellationToken::new();
        let mut signals = std::pin::pin!(on_signal(shutdown.clone())?);
        let running = TaskTracker::new();
        running.spawn(app.run(shutdown.clone()));
        running.close();

        let shown = async {
            let connected = client.connect().await?;
            setup::create(&connected).await?;
            self.ask(&connected).await?;
            if self.once {
                shutdown.cancel();
                return Ok(());
            }
            hints(address, client.key.as_deref().unwrap_or_default())
        };
        tokio::select! {
            shown = shutdown.run_until_cancelled(shown) => shown.unwrap_or(Ok(()))?,
            status = signals.as_mut() => return Ok(status),
        }
        tokio::select! {
            () = running.wait() => Ok(ExitCode::SUCCESS),
            status = signals => Ok(status),
        }
    }

    /// A service in a temporary folder, and how to reach it.
    async fn start(&self, folder: &std::path::Path) -> Result<(App, ClientArgs), Cause> {
        let taken = std::net::TcpListener::bind(syft_endpoints::server::Config::default().listen).is_err();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let default = if taken { any } else { syft_endpoints::server::Config::default().listen };
        let flags = vec![
            ("data_dir", folder.display().to_string()),
            ("server.listen", self.listen.unwrap_or(default).to_string()),
            ("log.level", "warn".to_owned()),
            ("metrics.listen", "off".to_owned()),
        ];
        let config = Config::load("", std::iter::empty(), flags)?;
        let metrics = Metrics::default();
        logs::init(&config.log, &config.traces, &metrics)?;
        let key = syft_endpoints::app::admin_key(&config)?;
        let app = App::build(config, metrics).await?;
        let server = format!("http://{}", app.local_addr()?);
        let key = secrecy::ExposeSecret::expose_secret(&key).to_owned();
        let server = ServerArgs::at(server);
        Ok((app, ClientArgs { server, key: Some(key), tenant: None }))
    }

    /// Asks over a real connection and prints each event as it arrives.
    async fn ask(&self, client: &Client) -> Result<(), Cause> {
        say!("\n> {}\n", self.question)?;
        let query = syft_endpoints::proto::Query {
            messages: Some(Messages::Text(self.question.clone())),
            similarity_threshold: Some(0.2),
            max_tokens: Some(300),
            stop_sequences: Some(StopSequences::default()),
            ..Default::default()
        };
        let request =
            StreamQueryRequest { slug: setup::SLUG.to_owned(), query: Some(query), request_id: None };
        let (asked, mut first_token) = (Instant::now(), None);
        let answer = output::Answer::new(false);
        let call = client.endpoints().stream_query(request).await;
        let mut events = call.map_err(|status| output::failure(&status))?.into_inner();
        while let Some(message) = events.message().await.map_err(|status| output::failure(&status))? {
            let Some(event) = message.event else { continue };
            if matches!(event, Event::Delta(_)) {
                first_token.get_or_insert_with(|| asked.elapsed());
            }
            answer.print(event)?;
        }
        if let Some(first_token) = first_token {
            say!("first token after {:.1} ms", first_token.as_secs_f64() * 1e3)?;
        }
        Ok(std::io::stdout().flush()?)
    }
}

/// Calls that can be pasted into a terminal as they are.
fn hints(address: SocketAddr, key: &str) -> Result<(), Cause> {
    let body = format!(
        r#"{{"slug":"{}","query":{{"text":"How are policies ordered?","stopSequences":{{}}}}}}"#,
        setup::SLUG
    );
    say!(
        r#"
The service listens on {address}. In another terminal, in the repository's folder, any of these asks it more:

cargo run -q -- query {slug} "How are policies ordered?" --server http://{address} --key {key}

npx -y @bufbuild/buf curl --http2-prior-knowledge --protocol grpc -H 'authorization: Bearer {key}' \
  -d '{body}' http://{address}/syft.space.v1.EndpointService/StreamQuery

grpcurl -plaintext -H 'authorization: Bearer {key}' \
  -d '{body}' {address} syft.space.v1.EndpointService/StreamQuery

python3 -m venv /tmp/syft-demo && /tmp/syft-demo/bin/pip install -q grpcio-tools
/tmp/syft-demo/bin/python -m grpc_tools.protoc -I proto --python_out=/tmp/syft-demo \
  --grpc_python_out=/tmp/syft-demo proto/syft/space/v1/*.proto
PYTHONPATH=/tmp/syft-demo /tmp/syft-demo/bin/python - <<'END'
import grpc
from syft.space.v1 import endpoint_service_pb2 as m, endpoint_service_pb2_grpc as g, query_pb2 as q
stub = g.EndpointServiceStub(grpc.insecure_channel('{address}'))
query = q.Query(text='How are policies ordered?', stop_sequences=q.StopSequences())
key = ('authorization', 'Bearer {key}')
for event in stub.StreamQuery(m.StreamQueryRequest(slug='{slug}', query=query), metadata=[key]):
    print(event.delta.content, end='', flush=True)
END

Ctrl-C stops it; its folder is deleted then."#,
        slug = setup::SLUG,
    )?;
    Ok(())
}
