//! The conformance fixture on a server of ours.

use std::sync::Arc;

use mcp_serve::{
    Config,
    events::{Change, Event, Events, MemoryEvents},
    test_util::TestServer,
    transport::StreamHandle,
};

use crate::fixture::{Fixture, FixtureEvent};

/// Starts it on a free port. What the fixture announces goes out on the server's event channel.
pub(crate) async fn start() -> TestServer {
    let events = Arc::new(MemoryEvents::default());
    let fixture = announcing(Fixture::new(), events.clone());
    let config = Config {
        events,
        ..Config::default()
    };
    TestServer::start(move || fixture.clone(), axum::Router::new(), config).await
}

/// The fixture, as a server of ours wants it: what it announces goes out on `events`.
pub(crate) fn announcing(fixture: Fixture, events: Arc<dyn Events>) -> Fixture {
    fixture
        .with_hook(Arc::new(move |event| {
            events.publish(Event {
                audience: None,
                change: change(event),
            });
        }))
        .with_stream_closer(Arc::new(|context| {
            if let Some(handle) = context.extensions.get::<StreamHandle>() {
                handle.close_connection();
            }
        }))
}

fn change(event: FixtureEvent) -> Change {
    match event {
        FixtureEvent::ToolsListChanged => Change::Tools,
        FixtureEvent::PromptsListChanged => Change::Prompts,
        FixtureEvent::ResourcesListChanged => Change::Resources,
        FixtureEvent::ResourceUpdated(uri) => Change::Resource(uri.into()),
    }
}
