//! Notes as resources: `note:///{id}`, their list, and the news about them.

use mcp_serve::events::{Change, Event, Events, Received, Subscription};
use notes::{ChangeKind, ListQuery, NoteId, Notes, Owner};
use rmcp::{
    ErrorData,
    model::{
        Annotations, ListResourcesResult, ReadResourceResult, Resource, ResourceContents,
        ResourceTemplate, SubscriptionFilter,
    },
    service::SubscriptionContext,
};
use serde_json::json;

use crate::error_map::Failure;

const SCHEME: &str = "note:///";
pub(super) const TEMPLATE: &str = "note:///{id}";
const MIME: &str = "text/markdown";

/// How many notes a page of the list has.
const PAGE_NOTES: u32 = 50;

/// Publishes what clients hear of a change to a note. To be given to [`Notes::on_change`].
pub fn announce(events: &dyn Events, change: &notes::Change) {
    let audience = || Some(change.owner.as_str().into());
    if change.kind != ChangeKind::Created {
        let uri = uri(&change.id).into();
        events.publish(Event {
            audience: audience(),
            change: Change::Resource(uri),
        });
    }
    // An update may have changed the title, which the list shows.
    events.publish(Event {
        audience: audience(),
        change: Change::Resources,
    });
}

/// The URI of a note. Ids have only characters that a URI may hold as they are.
fn uri(id: &NoteId) -> String {
    format!("{SCHEME}{id}")
}

/// The note that `uri` names, if it is the URI of one.
pub(crate) fn note_named(uri: &str) -> Option<NoteId> {
    let id = uri.strip_prefix(SCHEME)?;
    NoteId::parse(id).ok()
}

/// The note that `uri` names.
pub(super) fn note_id(uri: &str) -> Result<NoteId, ErrorData> {
    note_named(uri).ok_or_else(|| not_found(uri))
}

fn not_found(uri: &str) -> ErrorData {
    ErrorData::resource_not_found(
        "there is no such resource; resources/list has the URIs of all notes",
        Some(json!({ "uri": uri })),
    )
}

async fn note(notes: &Notes, owner: &Owner, uri: &str) -> Result<notes::Note, ErrorData> {
    let id = note_id(uri)?;
    notes.get(owner, &id).await.map_err(|error| match error {
        notes::Error::NotFound { .. } => not_found(uri),
        other => Failure::of(other).into_rpc_error(),
    })
}

/// Whether there is a note with this URI; an error if not.
pub(super) async fn exists(notes: &Notes, owner: &Owner, uri: &str) -> Result<(), ErrorData> {
    note(notes, owner, uri).await.map(|_| ())
}

pub(super) async fn list(
    notes: &Notes,
    owner: &Owner,
    cursor: Option<String>,
) -> Result<ListResourcesResult, ErrorData> {
    let query = ListQuery {
        limit: PAGE_NOTES,
        cursor,
        ..ListQuery::default()
    };
    let page = notes
        .list(owner, &query)
        .await
        .map_err(|e| Failure::of(e).into_rpc_error())?;
    let resources = page.items.into_iter().map(|note| {
        let mut annotations = Annotations::default();
        annotations.last_modified = Some(note.updated_at.to_string());
        Resource::new(uri(&note.id), note.title.as_str())
            .with_title(note.title.as_str())
            .with_mime_type(MIME)
            .with_annotations(annotations)
    });
    let mut result = ListResourcesResult::with_all_items(resources.collect());
    result.next_cursor = page.next_cursor;
    Ok(result)
}

pub(super) fn template() -> ResourceTemplate {
    ResourceTemplate::new(TEMPLATE, "note")
        .with_title("Note")
        .with_description("The text of one note, by its id.")
        .with_mime_type(MIME)
}

pub(super) async fn read(
    notes: &Notes,
    owner: &Owner,
    uri: &str,
) -> Result<ReadResourceResult, ErrorData> {
    let note = note(notes, owner, uri).await?;
    let contents = ResourceContents::text(note.content.into_string(), uri).with_mime_type(MIME);
    Ok(ReadResourceResult::new(vec![contents]))
}

/// The part of `requested` that is served: news of the list, and of notes.
pub(super) fn accepted(requested: &SubscriptionFilter) -> SubscriptionFilter {
    let mut accepted = SubscriptionFilter::new();
    accepted.resources_list_changed = requested.resources_list_changed;
    accepted.resource_subscriptions = requested.resource_subscriptions.as_ref().map(|uris| {
        uris.iter()
            .filter(|uri| note_id(uri).is_ok())
            .cloned()
            .collect()
    });
    accepted
}

/// Passes the owner's news on until the client, or the channel, ends it.
pub(super) async fn listen(
    mut subscription: Box<dyn Subscription>,
    owner: &Owner,
    context: &SubscriptionContext,
) {
    loop {
        let received = tokio::select! {
            () = context.cancelled() => return,
            received = subscription.next() => received,
        };
        let sent = match received {
            None => return,
            Some(Received::Missed) => catch_up(context).await,
            Some(Received::Event(event)) => {
                !event.is_for(owner.as_str()) || notify(context, &event.change).await
            }
        };
        if !sent {
            return;
        }
    }
}

/// Tells the client of one change, if it asked for such news. False when it cannot be reached.
async fn notify(context: &SubscriptionContext, change: &Change) -> bool {
    let accepted = context.accepted();
    match change {
        Change::Resources if accepted.resources_list_changed == Some(true) => {
            context.sink().notify_resource_list_changed().await.is_ok()
        }
        Change::Resource(uri)
            if accepted
                .resource_subscriptions
                .as_ref()
                .is_some_and(|uris| uris.iter().any(|known| **known == **uri)) =>
        {
            context
                .sink()
                .notify_resource_updated(uri.as_ref())
                .await
                .is_ok()
        }
        _ => true,
    }
}

/// After lost events: everything the client asked about may have changed.
async fn catch_up(context: &SubscriptionContext) -> bool {
    let accepted = context.accepted().clone();
    for uri in accepted.resource_subscriptions.into_iter().flatten() {
        if !notify(context, &Change::Resource(uri.into())).await {
            return false;
        }
    }
    notify(context, &Change::Resources).await
}
