//! Holds tool arguments to the input schema that the tool advertises.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use jsonschema::Validator;
use rmcp::model::{ErrorData, JsonObject, Tool};
use serde_json::Value;

/// How many problems one answer names, so that it stays readable.
const PROBLEMS_MAX: usize = 10;

/// How long each of them may be.
const PROBLEM_CHARS_MAX: usize = 300;

/// How many compiled schemas are kept. A handler with more tools compiles some of them again.
const KEPT_MAX: usize = 1024;

/// Compiled input schemas by tool name.
#[derive(Debug, Default)]
pub(super) struct Schemas {
    compiled: RwLock<HashMap<String, Compiled>>,
}

#[derive(Debug, Clone)]
struct Compiled {
    schema: Arc<JsonObject>,
    /// `None` for a schema that does not compile.
    validator: Option<Arc<Validator>>,
}

impl Schemas {
    /// What is wrong with `arguments`, in words for the model that wrote them.
    ///
    /// The words name the place and the rule, and never repeat a value. A schema that cannot be
    /// enforced, such as one with a `$ref` to another document, is error -32603: its tool is not
    /// called.
    pub(super) fn check(
        &self,
        tool: &Tool,
        arguments: &Value,
    ) -> Result<Result<(), String>, ErrorData> {
        let validator = self.validator(tool).ok_or_else(unusable)?;
        if validator.is_valid(arguments) {
            return Ok(Ok(()));
        }
        let problems: Vec<String> = validator
            .iter_errors(arguments)
            .take(PROBLEMS_MAX)
            .map(|error| {
                let place = error.instance_path().to_string();
                let rule = error.masked_with("the value").to_string();
                let problem = match place.strip_prefix('/') {
                    Some(place) => format!("{}: {rule}", place.replace('/', ".")),
                    None => rule,
                };
                shortened(problem)
            })
            .collect();
        let problems = problems.join("; ");
        Ok(Err(format!(
            "Invalid arguments for tool {}: {problems}",
            tool.name
        )))
    }

    fn validator(&self, tool: &Tool) -> Option<Arc<Validator>> {
        let same = |it: &&Compiled| {
            Arc::ptr_eq(&it.schema, &tool.input_schema) || it.schema == tool.input_schema
        };
        let kept = self.compiled.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = kept.get(tool.name.as_ref()).filter(same) {
            return compiled.validator.clone();
        }
        drop(kept);
        let schema = Value::Object((*tool.input_schema).clone());
        let validator = jsonschema::validator_for(&schema)
            .inspect_err(|error| {
                tracing::error!(tool = %tool.name, %error, "the input schema cannot be enforced");
            })
            .ok()
            .map(Arc::new);
        let compiled = Compiled {
            schema: tool.input_schema.clone(),
            validator: validator.clone(),
        };
        let mut kept = self
            .compiled
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(tool.name.to_string(), compiled);
        validator
    }
}

/// The beginning of a problem: it names members of the arguments, which may be many and long.
fn shortened(mut problem: String) -> String {
    if let Some((end, _)) = problem.char_indices().nth(PROBLEM_CHARS_MAX) {
        problem.truncate(end);
        problem.push('…');
    }
    problem
}

fn unusable() -> ErrorData {
    ErrorData::internal_error("the input schema of this tool cannot be enforced", None)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool() -> Tool {
        let schema = json!({
            "type": "object",
            "properties": {
                "title": {"type": "string", "maxLength": 3},
                "tags": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["title"],
            "additionalProperties": false,
        });
        let Value::Object(schema) = schema else {
            panic!("not an object")
        };
        Tool::new("write", "Writes", Arc::new(schema))
    }

    fn check(arguments: &Value) -> Result<(), String> {
        Schemas::default().check(&tool(), arguments).unwrap()
    }

    #[test]
    fn limits_are_enforced_and_the_place_is_named_without_the_value() {
        assert_eq!(check(&json!({"title": "äöü"})), Ok(()));
        let error = check(&json!({"title": "secret", "tags": [1]})).unwrap_err();
        assert!(
            error.contains("title: ") && error.contains("tags.0: "),
            "{error}"
        );
        assert!(!error.contains("secret"), "{error}");
        assert!(check(&json!({})).unwrap_err().contains("title"));
        assert!(
            check(&json!({"title": "a", "colour": 1}))
                .unwrap_err()
                .contains("colour")
        );
    }

    #[test]
    fn a_changed_schema_is_compiled_anew() {
        let schemas = Schemas::default();
        let arguments = json!({"title": "long one"});
        assert!(schemas.check(&tool(), &arguments).unwrap().is_err());
        let mut wider = tool();
        wider.input_schema = Arc::new(JsonObject::new());
        assert_eq!(schemas.check(&wider, &arguments), Ok(Ok(())));
    }
}
