//! The REST face: notes as resources of HTTP, and the document that describes them.

mod accept;
mod answer;
mod call;
pub(crate) mod etag;
mod handlers;
mod openapi;
mod table;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    response::Response,
    routing::{MethodFilter, MethodRouter, any, on},
};
use http::{HeaderValue, Method};
use notes::Notes;

use self::{
    answer::Refusal,
    call::{Call, Payload},
    table::{Endpoint, OPERATIONS, Operation},
};
use crate::{
    action::Action,
    audit::{Audit, Face, Trail},
    error_map::{Failure, Kind, Problem},
    rules::Rules,
    web::markdown::Markdown,
    wire::{ListNotes, NewNote, NotePatch, SearchNotes, Shape, input_schema},
};

pub(crate) use answer::refuse;
pub use openapi::document;

/// The paths under which the API is served; the operations are the same under each.
pub const MOUNTS: [&str; 2] = ["/api/v1/notes", "/api/v1/mcp/notes"];

/// What a request with this method and path does; `None` when nothing of the API answers it.
pub(crate) fn action(method: &Method, path: &str) -> Option<Action> {
    let below = MOUNTS.iter().find_map(|mount| path.strip_prefix(mount))?;
    let operation = OPERATIONS.iter().find(|it| it.takes(method, below));
    operation.map(|operation| operation.action)
}

/// How many operations there are under each of [`MOUNTS`].
#[cfg(test)]
pub(crate) const fn operations() -> usize {
    OPERATIONS.len()
}

/// How the REST API behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Largest request body, in bytes; more is 413.
    pub body_bytes_max: usize,
    /// How long a client may show a note or a list without asking again, in whole seconds. With
    /// zero it asks every time, and is told cheaply when nothing has changed.
    pub cache: Duration,
    /// Whose notes a caller reaches, and what can be done with them.
    pub rules: Rules,
    /// Where it is written down who did what.
    pub audit: Audit,
}

/// What every handler works with.
struct Rest {
    notes: Notes,
    rules: Rules,
    audit: Audit,
    body_bytes_max: usize,
    cache_control: HeaderValue,
    new_note: Shape,
    note_patch: Shape,
    list_query: Shape,
    search_query: Shape,
    markdown: Markdown,
}

/// The operations on notes under each of [`MOUNTS`]. Errors inside are problem documents.
pub fn router(notes: Notes, options: Options) -> Router {
    let limits = *notes.limits();
    let cache_control = match options.cache.as_secs() {
        0 => HeaderValue::from_static("private, no-cache"),
        seconds => HeaderValue::try_from(format!("private, max-age={seconds}"))
            .unwrap_or(HeaderValue::from_static("private, no-cache")),
    };
    let rest = Arc::new(Rest {
        notes,
        rules: options.rules,
        audit: options.audit,
        body_bytes_max: options.body_bytes_max,
        cache_control,
        new_note: input_schema::<NewNote>(&limits),
        note_patch: input_schema::<NotePatch>(&limits),
        list_query: input_schema::<ListNotes>(&limits),
        search_query: input_schema::<SearchNotes>(&limits),
        markdown: Markdown::new(MOUNTS[0]),
    });
    let mut router = Router::new();
    for mount in MOUNTS {
        for operation in OPERATIONS {
            let path = format!("{mount}{}", operation.path);
            router = router.route(&path, endpoint(operation));
        }
        let beside = any(|request: Request| async move { nothing_here(&request) });
        for path in ["/", "/{id}/", "/{id}/{*rest}"] {
            router = router.route(&format!("{mount}{path}"), beside.clone());
        }
    }
    router
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(rest)
}

/// The handler of one operation.
fn endpoint(operation: &'static Operation) -> MethodRouter<Arc<Rest>> {
    let run = Run(operation.action);
    match operation.endpoint {
        Endpoint::List => run.with(MethodFilter::GET, handlers::list),
        Endpoint::Create => run.with(MethodFilter::POST, handlers::create),
        Endpoint::Search => run.with(MethodFilter::GET, handlers::search),
        Endpoint::Get => run.with(MethodFilter::GET, handlers::get),
        Endpoint::Replace => run.with(MethodFilter::PUT, handlers::replace),
        Endpoint::Patch => run.with(MethodFilter::PATCH, handlers::patch),
        Endpoint::Delete => run.with(MethodFilter::DELETE, handlers::delete),
    }
}

/// What is done where a request is for this action.
struct Run(Action);

impl Run {
    fn with<H, F>(self, method: MethodFilter, handler: H) -> MethodRouter<Arc<Rest>>
    where
        H: Fn(Arc<Rest>, Call, Payload) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response, Refusal>> + Send + 'static,
    {
        let Self(action) = self;
        let run = async move |rest: Arc<Rest>, request: Request, trail: &mut Trail| {
            if let Some(failure) = rest.rules.refusal(action) {
                return Err(failure.into());
            }
            let (call, payload) = Call::read(&rest, request).await?;
            trail.note(call.id());
            handler(rest, call, payload).await
        };
        on(
            method,
            move |State(rest): State<Arc<Rest>>, request: Request| {
                let run = run.clone();
                async move {
                    let instance = request.uri().path().to_owned();
                    let extensions = Some(request.extensions());
                    let mut trail = rest.audit.trail(Face::Rest, extensions, action.tool());
                    if !action.writes() {
                        trail.reads();
                    }
                    let outcome = run(rest, request, &mut trail).await;
                    answer::end(&mut trail, &outcome);
                    let response =
                        outcome.unwrap_or_else(|refusal: Refusal| refusal.into_response(&instance));
                    trail.status(response.status().as_u16());
                    response
                }
            },
        )
    }
}

async fn method_not_allowed(request: Request) -> Response {
    let detail = format!(
        "{} is not a method of this path; see Allow",
        request.method()
    );
    refuse(&Problem::new(
        Kind::MethodNotAllowed,
        detail,
        request.uri().path(),
    ))
}

/// There is nothing at the path of `request`.
fn nothing_here(request: &Request) -> Response {
    let detail = "there is nothing at this path";
    refuse(&Problem::new(Kind::NotFound, detail, request.uri().path()))
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failure {
            failure,
            of_body: false,
        }
    }
}
