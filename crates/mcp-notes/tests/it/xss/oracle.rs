//! What the HTML of a note may be, found by parsing it as a browser does, in lists of its own: those
//! that the program has are what is tested. The fuzz target of the rendering uses it, too.

use html5ever::{
    ParseOpts, QualName, local_name, ns, parse_document, parse_fragment, tendril::TendrilSink,
    tree_builder::TreeBuilderOpts,
};
use markup5ever_rcdom::{Handle, NodeData, RcDom};

/// The elements that the Markdown of a note may become.
const OF_NOTES: &[&str] = &[
    "a",
    "blockquote",
    "br",
    "code",
    "del",
    "em",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "kbd",
    "li",
    "mark",
    "ol",
    "p",
    "pre",
    "strong",
    "sub",
    "sup",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "tr",
    "ul",
];

/// The elements of the page around it, with their attributes.
const OF_PAGES: &[(&str, &[&str])] = &[
    ("html", &["lang"]),
    ("head", &[]),
    ("meta", &["charset", "name", "content"]),
    ("title", &[]),
    ("style", &[]),
    ("body", &[]),
    ("main", &[]),
    ("header", &[]),
    ("h1", &["lang", "dir"]),
    ("ul", &["aria-label"]),
    ("li", &["lang", "dir"]),
    ("p", &[]),
    ("time", &["datetime"]),
    ("bdi", &[]),
    ("article", &["lang", "dir"]),
];

/// A page, parsed.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// What should not be there.
    pub(crate) complaints: Vec<String>,
    /// The text of the title, the heading, the tags, and the elements that are there once.
    pub(crate) title: String,
    pub(crate) heading: String,
    pub(crate) tags: Vec<String>,
    pub(crate) style: String,
    /// All text of the note.
    pub(crate) text: String,
}

/// What is wrong with the HTML of a note that starts its paths with `notes_path`.
pub(crate) fn fragment(html: &str, notes_path: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for scripting in [true, false] {
        let context = QualName::new(None, ns!(html), local_name!("article"));
        let parser = parse_fragment(
            RcDom::default(),
            options(scripting),
            context,
            Vec::new(),
            scripting,
        );
        let dom = parser.one(html);
        // The parser puts what it finds into an element of its own.
        let root = dom.document.children.borrow().first().cloned();
        for node in root.into_iter().flat_map(|root| descendants(&root)) {
            complaints.extend(in_note(&node, notes_path));
        }
    }
    complaints
}

/// A page that shows a note.
pub(crate) fn page(html: &str, notes_path: &str, scripting: bool) -> Page {
    let dom = parse_document(RcDom::default(), options(scripting)).one(html);
    let mut page = Page::default();
    let mut articles = 0;
    let mut waiting = vec![dom.document.clone()];
    while let Some(node) = waiting.pop() {
        if is_element(&node, "article") {
            articles += 1;
            let inner = descendants(&node);
            page.complaints
                .extend(inner.iter().filter_map(|it| in_note(it, notes_path)));
            page.text = text(&node);
            page.complaints.extend(around(&node));
            continue;
        }
        page.complaints.extend(around(&node));
        for (name, place) in [
            ("title", &mut page.title),
            ("h1", &mut page.heading),
            ("style", &mut page.style),
        ] {
            if is_element(&node, name) {
                place.push_str(&text(&node));
            }
        }
        if is_element(&node, "li") {
            page.tags.push(text(&node));
        }
        waiting.extend(node.children.borrow().iter().rev().cloned());
    }
    if articles != 1 {
        page.complaints.push(format!("{articles} articles"));
    }
    page
}

fn options(scripting_enabled: bool) -> ParseOpts {
    ParseOpts {
        tree_builder: TreeBuilderOpts {
            scripting_enabled,
            ..TreeBuilderOpts::default()
        },
        ..ParseOpts::default()
    }
}

/// Everything below `node`, without recursion: it may be deep.
fn descendants(node: &Handle) -> Vec<Handle> {
    let mut found = Vec::new();
    let mut waiting: Vec<Handle> = node.children.borrow().iter().rev().cloned().collect();
    while let Some(node) = waiting.pop() {
        waiting.extend(node.children.borrow().iter().rev().cloned());
        found.push(node);
    }
    found
}

fn text(node: &Handle) -> String {
    let mut all = String::new();
    for node in descendants(node) {
        if let NodeData::Text { contents } = &node.data {
            all.push_str(&contents.borrow());
        }
    }
    all
}

fn is_element(node: &Handle, wanted: &str) -> bool {
    matches!(&node.data, NodeData::Element { name, .. } if name.local == *wanted)
}

/// What is wrong with a node of a note.
fn in_note(node: &Handle, notes_path: &str) -> Option<String> {
    match &node.data {
        NodeData::Text { .. } => None,
        NodeData::Element { name, attrs, .. } => {
            if name.ns != ns!(html) || !OF_NOTES.contains(&&*name.local) {
                return Some(format!("element {name:?}"));
            }
            let attrs = attrs.borrow();
            let wrong = attrs.iter().find(|attr| {
                let is_plain = attr.name.ns == ns!() && attr.name.prefix.is_none();
                let is_fine = match (&*name.local, &*attr.name.local) {
                    ("a", "href") => is_target(&attr.value, notes_path),
                    ("a", "title") => true,
                    ("a", "rel") => *attr.value == *"noopener noreferrer nofollow",
                    ("ol", "start") => attr.value.bytes().all(|b| b.is_ascii_digit()),
                    _ => false,
                };
                !(is_plain && is_fine)
            });
            let has_rel = attrs.iter().any(|attr| attr.name.local == *"rel");
            match wrong {
                Some(attr) => Some(format!(
                    "attribute {:?} of {:?}: {}",
                    attr.name, name, attr.value
                )),
                None if name.local == *"a" && !has_rel => Some("a link without rel".to_owned()),
                None => None,
            }
        }
        other => Some(format!("{other:?}")),
    }
}

/// What is wrong with a node of the page around the note.
fn around(node: &Handle) -> Option<String> {
    match &node.data {
        NodeData::Document | NodeData::Text { .. } | NodeData::Doctype { .. } => None,
        NodeData::Element { name, attrs, .. } => {
            let known = OF_PAGES.iter().find(|(known, _)| name.local == **known);
            let attributes = known.map(|(_, attributes)| *attributes);
            let Some(attributes) = attributes.filter(|_| name.ns == ns!(html)) else {
                return Some(format!("element {name:?} of the page"));
            };
            let attrs = attrs.borrow();
            let wrong = attrs
                .iter()
                .find(|attr| !attributes.contains(&&*attr.name.local));
            wrong.map(|attr| format!("attribute {:?} of {:?} of the page", attr.name, name))
        }
        other => Some(format!("{other:?} of the page")),
    }
}

/// Whether a link may lead there: by its scheme as the URL standard reads it, or to a note.
fn is_target(href: &str, notes_path: &str) -> bool {
    if let Ok(url) = ammonia::Url::parse(href) {
        return ["http", "https", "mailto"].contains(&url.scheme());
    }
    let id = href
        .strip_prefix(notes_path)
        .and_then(|it| it.strip_prefix('/'));
    let fits = |c: char| c.is_ascii_alphanumeric() || "._~-".contains(c);
    id.is_some_and(|id| !id.is_empty() && id != "." && id != ".." && id.chars().all(fits))
}
