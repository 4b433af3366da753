//! What revisions before 2025-11-25 do not know is left out of the answers to their clients.

use rmcp::model::ProtocolVersion;
use serde_json::{Map, Value, json};

/// Takes out of `result` what came after `version`.
///
/// Icons came with 2025-11-25; titles, output schemas, structured content, resource links and
/// `_meta` on definitions with 2025-06-18. A resource link becomes a text that names it.
pub(super) fn downgrade(result: &mut Value, version: &ProtocolVersion) {
    let Value::Object(result) = result else {
        return;
    };
    let before_june = *version < ProtocolVersion::V_2025_06_18;
    if let Some(server) = result.get_mut("serverInfo").and_then(Value::as_object_mut) {
        keep_identity(server, before_june);
    }
    if before_june {
        result.remove("structuredContent");
    }
    for list in ["tools", "prompts", "resources", "resourceTemplates"] {
        for item in items(result, list) {
            item.remove("icons");
            if before_june {
                item.remove("title");
                item.remove("outputSchema");
                item.remove("_meta");
                for argument in items(item, "arguments") {
                    argument.remove("title");
                }
            }
        }
    }
    for block in items(result, "content") {
        content(block, before_june);
    }
    for message in items(result, "messages") {
        if let Some(block) = message.get_mut("content").and_then(Value::as_object_mut) {
            content(block, before_june);
        }
    }
}

fn keep_identity(server: &mut Map<String, Value>, before_june: bool) {
    for key in ["icons", "description", "websiteUrl"] {
        server.remove(key);
    }
    if before_june {
        server.remove("title");
    }
}

fn content(block: &mut Map<String, Value>, before_june: bool) {
    block.remove("icons");
    if before_june && block.get("type") == Some(&json!("resource_link")) {
        let name = |key| block.get(key).and_then(Value::as_str).unwrap_or_default();
        let text = format!("{}: {}", name("name"), name("uri"));
        *block = Map::from_iter([
            ("type".to_owned(), json!("text")),
            ("text".to_owned(), json!(text)),
        ]);
    }
    if before_june {
        block.remove("_meta");
    }
}

fn items<'a>(
    parent: &'a mut Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    parent
        .get_mut(key)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_revision_gets_what_it_knows() {
        let tools = json!({"tools": [{
            "name": "a", "title": "A", "icons": [], "inputSchema": {"type": "object"},
            "outputSchema": {"type": "object"},
        }]});
        let mut june = tools.clone();
        downgrade(&mut june, &ProtocolVersion::V_2025_06_18);
        assert_eq!(june["tools"][0]["title"], "A");
        assert!(june["tools"][0].get("icons").is_none());
        let mut march = tools;
        downgrade(&mut march, &ProtocolVersion::V_2025_03_26);
        assert_eq!(
            march,
            json!({"tools": [{"name": "a", "inputSchema": {"type": "object"}}]})
        );
    }

    #[test]
    fn a_link_becomes_a_text_where_links_are_unknown() {
        let link = json!({"type": "resource_link", "name": "n", "uri": "note:///1"});
        let mut result = json!({"content": [link], "structuredContent": {}});
        downgrade(&mut result, &ProtocolVersion::V_2025_03_26);
        assert_eq!(
            result,
            json!({"content": [{"type": "text", "text": "n: note:///1"}]})
        );
    }
}
