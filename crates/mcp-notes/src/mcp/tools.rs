//! The tools: what a model is told about each, and what each does.

use std::sync::Arc;

use notes::{Caller, Limits, Notes};
use rmcp::{
    ErrorData,
    model::{CallToolResult, ContentBlock, JsonObject, Tool, ToolAnnotations},
};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    action::Action,
    error_map::{Code, Failure},
    operations,
    rules::Rules,
    wire::{
        DeleteNote, Flaw, GetNote, ListNotes, NewNote, NoteDeleted, NoteHits, NoteList, NotePatch,
        NoteView, SearchNotes, UpdateNote, input_schema, output_schema, read,
    },
};

/// The tools, described once for the life of the server.
pub(super) struct Toolbox {
    rules: Rules,
    tools: Vec<(Action, Tool)>,
}

impl Toolbox {
    /// The tools for notes with these limits that `rules` allow, in the order in which they are
    /// listed.
    pub(super) fn new(limits: &Limits, rules: &Rules) -> Self {
        let mut tools = vec![
            create_note(limits),
            get_note(limits),
            list_notes(limits),
            search_notes(limits),
            update_note(limits),
            delete_note(limits),
        ];
        tools.retain(|(action, _)| rules.allow(*action));
        let rules = rules.clone();
        Self { rules, tools }
    }

    pub(super) fn list(&self) -> Vec<Tool> {
        self.tools.iter().map(|(_, tool)| tool.clone()).collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<Tool> {
        self.find(name).map(|(_, tool)| tool.clone())
    }

    fn find(&self, name: &str) -> Option<&(Action, Tool)> {
        self.tools.iter().find(|(_, tool)| tool.name == name)
    }

    /// Calls the tool `name`. An unknown name is an error of the protocol; everything else that
    /// goes wrong is a result that the model can read.
    pub(super) async fn call(
        &self,
        notes: &Notes,
        caller: &Caller,
        name: &str,
        arguments: JsonObject,
    ) -> Result<CallToolResult, ErrorData> {
        let Some((action, tool)) = self.find(name) else {
            let refusal = Action::of_tool(name).and_then(|action| self.rules.refusal(action));
            if let Some(failure) = refusal {
                return Ok(failure.into_tool_result());
            }
            let names: Vec<&str> = self
                .tools
                .iter()
                .map(|(_, tool)| tool.name.as_ref())
                .collect();
            let message = format!("there is no such tool; there are {}", names.join(", "));
            return Err(ErrorData::invalid_params(message, None));
        };
        let arguments = Value::Object(arguments);
        let result = match action {
            Action::Create => match parse::<NewNote>(&arguments, tool) {
                Ok(new) => reply(operations::create(notes, caller, new).await),
                Err(failure) => failure.into_tool_result(),
            },
            Action::Get => match parse::<GetNote>(&arguments, tool) {
                Ok(GetNote { id }) => reply(operations::get(notes, caller, &id).await),
                Err(failure) => failure.into_tool_result(),
            },
            Action::List => match parse::<ListNotes>(&arguments, tool) {
                Ok(query) => reply(operations::list(notes, caller, query).await),
                Err(failure) => failure.into_tool_result(),
            },
            Action::Search => match parse::<SearchNotes>(&arguments, tool) {
                Ok(query) => reply(operations::search(notes, caller, query).await),
                Err(failure) => failure.into_tool_result(),
            },
            Action::Update => match parse::<UpdateNote>(&arguments, tool) {
                Ok(update) => reply(change(notes, caller, update).await),
                Err(failure) => failure.into_tool_result(),
            },
            Action::Delete => match parse::<DeleteNote>(&arguments, tool) {
                Ok(note) => reply(delete(notes, caller, note).await),
                Err(failure) => failure.into_tool_result(),
            },
        };
        Ok(result)
    }
}

async fn change(notes: &Notes, caller: &Caller, update: UpdateNote) -> Result<NoteView, Failure> {
    let UpdateNote {
        id,
        title,
        content,
        tags,
        expected_version,
    } = update;
    check_version(expected_version)?;
    let patch = NotePatch {
        title,
        content,
        tags: tags.map(Some),
    };
    operations::update(notes, caller, &id, patch, expected_version).await
}

async fn delete(notes: &Notes, caller: &Caller, note: DeleteNote) -> Result<NoteDeleted, Failure> {
    check_version(note.expected_version)?;
    operations::delete(notes, caller, &note.id, note.expected_version).await
}

/// Notes are at version 1 or a later one, as the schema says.
fn check_version(expected: Option<u64>) -> Result<(), Failure> {
    if expected != Some(0) {
        return Ok(());
    }
    let message = "is 0; it must be 1 or more";
    let flaw = Flaw::new("expected_version", "out_of_range", message);
    Err(Failure::invalid(vec![flaw]))
}

fn parse<T: DeserializeOwned>(arguments: &Value, tool: &Tool) -> Result<T, Failure> {
    read(arguments, &tool.input_schema).map_err(Failure::invalid)
}

/// Text and structured content say the same, because they are the same value.
fn reply<T: Serialize>(outcome: Result<T, Failure>) -> CallToolResult {
    let view = match outcome {
        Ok(view) => view,
        Err(failure) => return failure.into_tool_result(),
    };
    match (serde_json::to_string(&view), serde_json::to_value(&view)) {
        (Ok(text), Ok(value)) => {
            let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
            result.structured_content = Some(value);
            result
        }
        _ => Failure::new(Code::Internal, "internal error").into_tool_result(),
    }
}

fn tool<In: JsonSchema, Out: JsonSchema>(
    action: Action,
    title: &str,
    description: &'static str,
    limits: &Limits,
) -> Tool {
    let input = Arc::new(input_schema::<In>(limits));
    Tool::new(action.tool(), description, input)
        .with_title(title)
        .with_raw_output_schema(Arc::new(output_schema::<Out>()))
}

fn reads() -> ToolAnnotations {
    ToolAnnotations::new()
        .read_only(true)
        .destructive(false)
        .idempotent(true)
        .open_world(false)
}

fn writes() -> ToolAnnotations {
    ToolAnnotations::new().read_only(false).open_world(false)
}

fn create_note(limits: &Limits) -> (Action, Tool) {
    let tool = tool::<NewNote, NoteView>(
        Action::Create,
        "Create note",
        "Keeps a new note and returns it with its id. Each call makes another note: to add to an \
         existing one, use update_note.",
        limits,
    );
    (
        Action::Create,
        tool.with_annotations(writes().destructive(false).idempotent(false)),
    )
}

fn get_note(limits: &Limits) -> (Action, Tool) {
    let tool = tool::<GetNote, NoteView>(
        Action::Get,
        "Read note",
        "Reads one whole note: title, text, tags, version and times.",
        limits,
    );
    (Action::Get, tool.with_annotations(reads()))
}

fn list_notes(limits: &Limits) -> (Action, Tool) {
    let tool = tool::<ListNotes, NoteList>(
        Action::List,
        "List notes",
        "Lists notes, newest change first, with the beginning of each text; get_note reads a whole \
         one. Can be narrowed by tag, by time and by the beginning of the title. When next_cursor \
         is not null, call again with it as cursor for the next page.",
        limits,
    );
    (Action::List, tool.with_annotations(reads()))
}

fn search_notes(limits: &Limits) -> (Action, Tool) {
    let tool = tool::<SearchNotes, NoteHits>(
        Action::Search,
        "Search notes",
        "Finds the notes that contain all the words of the query, best match first, with the text \
         around the match. Words in double quotes must follow each other; the last word may be the \
         beginning of one. When next_cursor is not null, call again with it as cursor for more.",
        limits,
    );
    (Action::Search, tool.with_annotations(reads()))
}

fn update_note(limits: &Limits) -> (Action, Tool) {
    let tool = tool::<UpdateNote, NoteView>(
        Action::Update,
        "Change note",
        "Replaces the title, the text or the tags of a note, and leaves alone what is not given. \
         Read the note first and give its version as expected_version: if it has changed since, \
         nothing is written and the error holds the note as it is now.",
        limits,
    );
    (
        Action::Update,
        tool.with_annotations(writes().destructive(true).idempotent(true)),
    )
}

fn delete_note(limits: &Limits) -> (Action, Tool) {
    let tool = tool::<DeleteNote, NoteDeleted>(
        Action::Delete,
        "Delete note",
        "Deletes a note. Do this only when the user asked for it. With expected_version, a note \
         that has changed since it was read is not deleted.",
        limits,
    );
    (
        Action::Delete,
        tool.with_annotations(writes().destructive(true).idempotent(true)),
    )
}
