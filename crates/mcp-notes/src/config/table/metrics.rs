//! Settings of metrics.

use super::{Group, ROW, Setting, put};
use crate::config::{Secret, value};

pub(super) const METRICS: &[Setting] = &[
    Setting {
        name: "METRICS_PATH",
        group: Group::Metrics,
        kind: "path",
        about: "The path of the metrics. The proxy in front must not pass it.",
        set: |c, v| put(&mut c.metrics_path, value::path(v)),
        show: |c| c.metrics_path.clone(),
        ..ROW
    },
    Setting {
        name: "METRICS_ADDR",
        group: Group::Metrics,
        kind: "IP address and port, such as 127.0.0.1:9464",
        about: "An address where the metrics are told and nothing else is, in plain HTTP; port 0 takes \
                a free one and the log names it. An address that other machines can reach needs \
                METRICS_TOKEN.",
        default_words: Some("the address of the server, to who may see the details of its health"),
        set: |c, v| put(&mut c.metrics_addr, value::socket(v).map(Some)),
        show: |c| c.metrics_addr.map_or_else(String::new, |it| it.to_string()),
        ..ROW
    },
    Setting {
        name: "METRICS_TOKEN",
        group: Group::Metrics,
        kind: "text",
        about: "What a reader of the metrics must present as a bearer token; with it no other \
                credential opens them.",
        secret: true,
        set: |c, v| put(&mut c.metrics_token, value::bearer(v).map(Some)),
        show: |c| shown(c.metrics_token.as_ref()),
        ..ROW
    },
];

fn shown(secret: Option<&Secret>) -> String {
    secret.map_or_else(String::new, |secret| format!("{secret:?}"))
}
