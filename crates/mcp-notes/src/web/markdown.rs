//! Markdown of notes as safe HTML, in the one place where that is done.
//!
//! Notes are written by anybody, assistants that were talked into something included. Two walls stand
//! one behind the other, and the policy of the page is a third:
//!
//! 1. What the parser of Markdown finds is cut down to what may be shown. HTML in a note is shown as
//!    the text it is, so that `Vec<String>` stays what it says and nothing hides in a comment; only
//!    `<br>` and a few tags without attributes count. An image is a link to it: one that loaded by
//!    itself would tell its server who reads what. Other links than to the web, to a mail address or
//!    to a note are only their text.
//! 2. The HTML made of that is parsed again and held to lists of elements, attributes and schemes.

use std::borrow::Cow;

use ammonia::{Builder, UrlRelative, UrlRelativeEvaluate};
use notes::NoteId;
use pulldown_cmark::{CodeBlockKind, CowStr, Event, LinkType, Options, Parser, Tag, TagEnd, html};

use super::html::Escaped;
use crate::mcp;

/// A longer text, in bytes, is shown as it is, without being read as Markdown: the HTML serializer
/// takes time by the square of a paragraph's length when it consists of characters to escape.
pub const MARKDOWN_BYTES_MAX: usize = 64 << 10;

/// How deep what is shown may be nested; what is deeper keeps its text and loses its form.
pub const NESTING_MAX: usize = 48;

/// Tags that count when a note has them as HTML, in this form only: no attributes.
const BARE_TAGS: [&str; 4] = ["kbd", "mark", "sub", "sup"];

/// Every element that may be in the HTML of a note.
pub const ELEMENTS: [&str; 29] = [
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

/// Elements of which nothing is shown, not even the text in them.
const SILENT: [&str; 13] = [
    "iframe", "math", "noembed", "noframes", "noscript", "object", "script", "select", "style",
    "svg", "template", "textarea", "title",
];

/// Every scheme that a link may have; a link to a note has none.
pub const SCHEMES: [&str; 3] = ["http", "https", "mailto"];

/// What every link says of itself.
pub const REL: &str = "noopener noreferrer nofollow";

/// Makes HTML of Markdown. Costs a little to make and is used for all notes.
#[derive(Debug)]
pub struct Markdown {
    notes_path: &'static str,
    cleaner: Builder<'static>,
}

impl Markdown {
    /// A link to `note:///{id}` leads to `{notes_path}/{id}`.
    pub fn new(notes_path: &'static str) -> Self {
        let mut cleaner = Builder::empty();
        cleaner
            .tags(ELEMENTS.into())
            .clean_content_tags(SILENT.into())
            .generic_attributes([].into())
            .tag_attributes([("a", ["href", "title"].into()), ("ol", ["start"].into())].into())
            .url_schemes(SCHEMES.into())
            .url_relative(UrlRelative::Custom(Box::new(NotePaths(notes_path))))
            .link_rel(Some(REL));
        Self {
            notes_path,
            cleaner,
        }
    }

    /// The HTML of a note's text, to stand anywhere among the blocks of a page. The work is bounded
    /// by the length of the text.
    pub fn to_html(&self, text: &str) -> String {
        let Some(events) = self.events(text) else {
            return format!("<pre>\n{}</pre>\n", Escaped(text));
        };
        let mut rendered = String::with_capacity(text.len() * 3 / 2);
        html::push_html(&mut rendered, events.into_iter());
        self.clean(&rendered)
    }

    /// The second wall: HTML of any origin, cut down to what the lists above allow.
    pub fn clean(&self, html: &str) -> String {
        self.cleaner.clean(html).to_string()
    }

    /// What is to be shown of `text`; `None` when it is too much to be read as Markdown.
    fn events<'a>(&self, text: &'a str) -> Option<Vec<Event<'a>>> {
        if text.len() > MARKDOWN_BYTES_MAX {
            return None;
        }
        let options =
            Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
        let mut first_wall = FirstWall {
            notes_path: self.notes_path,
            open: Vec::new(),
            shown: Vec::new(),
        };
        // Cells that a short row of a table leaves out are made up, so a note of some kilobytes could
        // have a quarter of a million of them. Nothing else gives more events than this.
        let events_max = 4 * text.len() + 64;
        for event in Parser::new_ext(text, options) {
            first_wall.take(event);
            if first_wall.shown.len() > events_max {
                return None;
            }
        }
        Some(first_wall.shown)
    }
}

/// What is open while events are taken.
#[derive(Debug)]
enum Open {
    /// An element of Markdown that is shown, and how it ends.
    Shown(TagEnd),
    /// A link, which has to have something to click on: where the events in it begin, and the text
    /// for when there is none.
    Link(usize, String),
    /// An element of Markdown of which only the content is shown.
    Hidden,
    /// One of [`BARE_TAGS`].
    Bare(&'static str),
}

/// Cuts the events of a text down to what may be shown.
struct FirstWall<'a> {
    notes_path: &'static str,
    open: Vec<Open>,
    shown: Vec<Event<'a>>,
}

impl<'a> FirstWall<'a> {
    fn take(&mut self, event: Event<'a>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(_) => self.end(),
            Event::Html(html) | Event::InlineHtml(html) => self.html(html),
            Event::TaskListMarker(is_done) => {
                let mark = if is_done { "\u{2611} " } else { "\u{2610} " };
                self.shown.push(Event::Text(mark.into()));
            }
            Event::FootnoteReference(text) | Event::InlineMath(text) | Event::DisplayMath(text) => {
                self.shown.push(Event::Text(text));
            }
            Event::Text(_) | Event::Code(_) | Event::SoftBreak | Event::HardBreak | Event::Rule => {
                self.shown.push(event);
            }
        }
    }

    fn start(&mut self, tag: Tag<'a>) {
        let opened = if self.open.len() < NESTING_MAX {
            self.opened(tag)
        } else {
            Open::Hidden
        };
        self.open.push(opened);
    }

    fn opened(&mut self, tag: Tag<'a>) -> Open {
        let tag = match tag {
            Tag::Link {
                link_type,
                dest_url,
                title,
                ..
            }
            | Tag::Image {
                link_type,
                dest_url,
                title,
                ..
            } => return self.link(link_type, &dest_url, title),
            Tag::HtmlBlock => Tag::CodeBlock(CodeBlockKind::Indented),
            Tag::Paragraph
            | Tag::Heading { .. }
            | Tag::BlockQuote(_)
            | Tag::CodeBlock(_)
            | Tag::List(_)
            | Tag::Item
            | Tag::Table(_)
            | Tag::TableHead
            | Tag::TableRow
            | Tag::TableCell
            | Tag::Emphasis
            | Tag::Strong
            | Tag::Strikethrough => tag,
            _ => return Open::Hidden,
        };
        let end = tag.to_end();
        self.shown.push(Event::Start(tag));
        Open::Shown(end)
    }

    /// A link, or its text alone: within another link, and for another target than those that are
    /// allowed.
    fn link(&mut self, link_type: LinkType, target: &str, title: CowStr<'a>) -> Open {
        let is_within = self.open.iter().any(|open| matches!(open, Open::Link(..)));
        let target = match link_type {
            LinkType::Email => Some(format!("mailto:{target}")),
            _ => self.target(target),
        };
        let (Some(target), false) = (target, is_within) else {
            return Open::Hidden;
        };
        self.shown.push(Event::Start(Tag::Link {
            link_type: LinkType::Inline,
            dest_url: target.clone().into(),
            title,
            id: CowStr::Borrowed(""),
        }));
        Open::Link(self.shown.len(), target)
    }

    /// Where a link leads, if it may lead there.
    fn target(&self, target: &str) -> Option<String> {
        if let Some(id) = mcp::note_named(target) {
            return Some(format!("{}/{id}", self.notes_path));
        }
        let (scheme, _) = target.split_once(':')?;
        let is_allowed = SCHEMES.iter().any(|it| it.eq_ignore_ascii_case(scheme));
        is_allowed.then(|| target.to_owned())
    }

    fn end(&mut self) {
        while let Some(open) = self.open.pop() {
            match open {
                Open::Bare(name) => self.shown.push(bare("</", name)),
                Open::Hidden => return,
                Open::Shown(end) => return self.shown.push(Event::End(end)),
                Open::Link(start, target) => {
                    if self.shown.len() == start {
                        self.shown.push(Event::Text(target.into()));
                    }
                    return self.shown.push(Event::End(TagEnd::Link));
                }
            }
        }
    }

    /// HTML in a note: a tag that counts, or text.
    fn html(&mut self, html: CowStr<'a>) {
        let inner = html.strip_prefix('<').and_then(|it| it.strip_suffix('>'));
        let inner = inner.unwrap_or_default().to_ascii_lowercase();
        if matches!(inner.as_str(), "br" | "br/" | "br /") {
            return self.shown.push(Event::HardBreak);
        }
        if let Some(name) = BARE_TAGS.into_iter().find(|name| *name == inner)
            && self.open.len() < NESTING_MAX
        {
            self.open.push(Open::Bare(name));
            return self.shown.push(bare("<", name));
        }
        if let (Some(name), Some(Open::Bare(open))) = (inner.strip_prefix('/'), self.open.last())
            && name == *open
        {
            self.shown.push(bare("</", open));
            self.open.pop();
            return;
        }
        self.shown.push(Event::Text(html));
    }
}

fn bare(before: &str, name: &str) -> Event<'static> {
    Event::InlineHtml(format!("{before}{name}>").into())
}

/// Of the links without a scheme, those to notes stay.
struct NotePaths(&'static str);

impl UrlRelativeEvaluate<'_> for NotePaths {
    fn evaluate<'url>(&self, url: &'url str) -> Option<Cow<'url, str>> {
        let id = url.strip_prefix(self.0)?.strip_prefix('/')?;
        NoteId::parse(id).is_ok().then_some(Cow::Borrowed(url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(text: &str) -> String {
        Markdown::new("/notes").to_html(text)
    }

    #[test]
    fn what_notes_are_written_with_is_shown() {
        let text = "# A *b*\n\n- [x] done\n- [ ] open\n\n| a | b |\n|--:|---|\n| 1 | ~~2~~ |\n\n\
                    3. three\n\n> said\n\n```rust\nlet a: Vec<u8>;\n```\nH<sub>2</sub>O<br>x & y\n\n---\n";
        assert_eq!(
            html(text),
            "<h1>A <em>b</em></h1>\n<ul>\n<li>\u{2611} done</li>\n<li>\u{2610} open</li>\n</ul>\n\
             <table><thead><tr><th>a</th><th>b</th></tr></thead><tbody>\n<tr><td>1</td><td><del>2\
             </del></td></tr>\n</tbody></table>\n<ol start=\"3\">\n<li>three</li>\n</ol>\n\
             <blockquote>\n<p>said</p>\n</blockquote>\n<pre><code>let a: Vec&lt;u8&gt;;\n</code>\
             </pre>\n<p>H<sub>2</sub>O<br>\nx &amp; y</p>\n<hr>\n"
        );
    }

    #[test]
    fn html_is_shown_as_the_text_it_is() {
        assert_eq!(
            html("Vec<String> <b>x</b> <!-- y --> <sub class=a>"),
            "<p>Vec&lt;String&gt; &lt;b&gt;x&lt;/b&gt; &lt;!-- y --&gt; &lt;sub class=a&gt;</p>\n"
        );
        assert_eq!(
            html("<script>\nalert(1)\n</script>\n"),
            "<pre><code>&lt;script&gt;\nalert(1)\n&lt;/script&gt;\n</code></pre>\n"
        );
    }

    #[test]
    fn tags_that_count_end_where_they_must() {
        assert_eq!(
            html("<sub>a *b<sup>* c"),
            "<p><sub>a <em>b<sup></sup></em> c</sub></p>\n"
        );
        assert_eq!(
            html("</sub> a *<kbd>* </kbd>"),
            "<p>&lt;/sub&gt; a <em><kbd></kbd></em> &lt;/kbd&gt;</p>\n"
        );
    }

    #[test]
    fn links_lead_to_the_web_to_mail_and_to_notes() {
        let a = |href: &str, text: &str| {
            format!("<p><a href=\"{href}\" rel=\"{REL}\">{text}</a></p>\n")
        };
        for (text, expected) in [
            (
                "[t](https://a.example/?b=1&c=\"2\")",
                a("https://a.example/?b=1&amp;c=%222%22", "t"),
            ),
            (
                "<HTTP://a.example>",
                a("HTTP://a.example", "HTTP://a.example"),
            ),
            (
                "<ann@a.example>",
                a("mailto:ann@a.example", "ann@a.example"),
            ),
            ("[n](note:///abc-1)", a("/notes/abc-1", "n")),
            (
                "![alt *x*](https://a.example/b.png)",
                a("https://a.example/b.png", "alt <em>x</em>"),
            ),
            (
                "![](https://a.example/)",
                a("https://a.example/", "https://a.example/"),
            ),
            (
                "[![b](https://b.example)](https://a.example)",
                a("https://a.example", "b"),
            ),
            ("[t](/api/other)", "<p>t</p>\n".into()),
            ("[t](//a.example)", "<p>t</p>\n".into()),
            ("[t](note:///../x)", "<p>t</p>\n".into()),
            ("[t](note:///..)", "<p>t</p>\n".into()),
            ("[t](javascript:alert(1))", "<p>t</p>\n".into()),
            ("[t](<java\tscript:alert(1)>)", "<p>t</p>\n".into()),
            ("[t](&#106;avascript:alert(1))", "<p>t</p>\n".into()),
            ("[t](#a)", "<p>t</p>\n".into()),
        ] {
            assert_eq!(html(text), expected, "{text}");
        }
    }

    #[test]
    fn work_and_output_are_bounded_by_the_length() {
        let table = format!(
            "{}\n{}\n{}",
            "|a".repeat(3000),
            "|-".repeat(3000),
            "|\n".repeat(2000)
        );
        let shapes = [
            ">".repeat(20_000),
            "- ".repeat(20_000),
            "*a **a ".repeat(5000),
            "[".repeat(20_000),
            "![".repeat(20_000),
            "[a](".repeat(10_000),
            "<kbd>".repeat(10_000),
            "`".repeat(20_000),
            "<!--".repeat(10_000),
            "&#x".repeat(10_000),
            "> - ".repeat(10_000),
            "> ".repeat(100) + &"a\n".repeat(10_000),
            format!("[a]: {}\n\n{}", "b".repeat(5000), "[a]".repeat(5000)),
            table,
        ];
        for text in shapes {
            let html = html(&text);
            let most = 40 * text.len() + 200_000;
            assert!(html.len() < most, "{}: {}", &text[..20], html.len());
            let depth = html.split('<').fold((0_i32, 0), |(now, most), tag| {
                let change = if tag.starts_with('/') {
                    -1
                } else {
                    i32::from(!tag.starts_with("br"))
                };
                (now + change, most.max(now + change))
            });
            assert!(depth.1 <= 52, "{}: {depth:?}", &text[..20]);
        }
        let long = "<b>".repeat(MARKDOWN_BYTES_MAX);
        assert!(html(&long).starts_with("<pre>\n&lt;b&gt;"));
    }
}
