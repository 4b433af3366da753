//! [`SessionStore`](super::SessionStore) within one process.
