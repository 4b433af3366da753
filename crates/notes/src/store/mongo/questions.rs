//! Questions to the collection of notes, each with a deadline and a bound on what comes back.

use bson::{Document, RawDocument, RawDocumentBuf, Regex, doc};
use futures_util::TryStreamExt as _;
use tokio::time::Instant;

use super::Inner;
use crate::error::StoreError;

/// The longest pattern that is sent, in bytes; servers refuse longer ones than twice this.
const PATTERN_BYTES_MAX: usize = 16 * 1024;

/// How many documents are looked at before others have their turn.
const TAKEN_AT_ONCE: u32 = 64;

impl Inner {
    /// The first notes that match, newest change first.
    pub(super) async fn find(
        &self,
        deadline: Instant,
        filter: Document,
        projection: Document,
        limit: i64,
    ) -> Result<Vec<RawDocumentBuf>, StoreError> {
        self.read(deadline, || async {
            let find = self
                .notes
                .find(filter.clone())
                .projection(projection.clone())
                .sort(doc! { "updatedMicros": -1, "noteId": -1 })
                .limit(limit)
                .batch_size(u32::try_from(limit).unwrap_or(u32::MAX))
                .max_time(Self::left(deadline));
            find.await?.try_collect().await
        })
        .await
    }

    /// How many notes match, if they are not more than `most`.
    pub(super) async fn count(
        &self,
        deadline: Instant,
        filter: Document,
        most: u64,
    ) -> Result<Option<u64>, StoreError> {
        let found = self
            .read(deadline, || async {
                let count = self.notes.count_documents(filter.clone());
                count.limit(most + 1).max_time(Self::left(deadline)).await
            })
            .await?;
        Ok(Some(found).filter(|found| *found <= most))
    }

    /// What `take` makes of the first `most` documents of a pipeline, each looked at as it comes, so that
    /// no more is kept than that; and whether there are more.
    pub(super) async fn aggregate<T>(
        &self,
        deadline: Instant,
        pipeline: &[Document],
        most: u32,
        take: impl Fn(&RawDocument) -> Result<Option<T>, StoreError>,
    ) -> Result<(Vec<T>, bool), StoreError> {
        let read = || async {
            let found = self
                .notes
                .aggregate(pipeline.to_vec())
                .with_type::<RawDocumentBuf>()
                .batch_size(most.saturating_add(1))
                .max_time(Self::left(deadline));
            let mut found = found.await?;
            let (mut taken, mut seen) = (Vec::new(), 0);
            while let Some(document) = found.try_next().await? {
                if seen == most {
                    return Ok(Ok((taken, true)));
                }
                seen += 1;
                if seen % TAKEN_AT_ONCE == 0 {
                    tokio::task::yield_now().await;
                }
                match take(&document) {
                    Ok(one) => taken.extend(one),
                    Err(error) => return Ok(Err(error)),
                }
            }
            Ok(Ok((taken, false)))
        };
        self.read(deadline, read).await?
    }
}

/// A regular expression that finds `text` as it stands.
pub(super) fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_punctuation() {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// A pattern as it is sent; nothing if it cannot be sent, and then no note has what it looks for: it
/// has a NUL, or is longer than any title.
pub(super) fn regex(pattern: &str) -> Option<Regex> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return None;
    }
    Some(Regex {
        pattern: pattern.try_into().ok()?,
        options: "".try_into().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_finds_text_as_it_stands() {
        assert_eq!(escaped("a.b*\\"), "a\\.b\\*\\\\");
        assert_eq!(escaped("日本 🚀"), "日本 🚀");
        assert!(regex("a\0b").is_none());
        assert!(regex(&"a".repeat(40_000)).is_none());
    }
}
