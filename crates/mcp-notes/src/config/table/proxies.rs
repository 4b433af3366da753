//! Settings for what stands between clients and the server, and for traffic in the clear.

use super::{Group, ROW, Setting, put};
use crate::config::value::{self, Word};

pub(super) const PROXIES: &[Setting] = &[
    Setting {
        name: "TRUSTED_PROXIES",
        group: Group::Proxies,
        kind: "comma-separated networks such as 10.0.0.0/8, or addresses",
        about: "The proxies that are believed when they say in Forwarded or X-Forwarded-For, -Proto \
                and -Host for whom they ask; from anybody else these headers mean nothing.",
        set: |c, v| put(&mut c.trusted_proxies, value::proxies(v)),
        show: |c| c.trusted_proxies.to_string(),
        ..ROW
    },
    Setting {
        name: "PROXY_PROTOCOL",
        group: Group::Proxies,
        kind: "off or on",
        about: "With on, every connection of a trusted proxy must begin with a header of the PROXY \
                protocol, version 1 or 2, that names the client; from others none is taken. Forwarded \
                and X-Forwarded-* then count only where the client so named is a trusted proxy too, \
                and never where none is named.",
        set: |c, v| put(&mut c.proxy_protocol, value::on_or_off(v)),
        show: |c| if c.proxy_protocol { "on" } else { "off" }.into(),
        ..ROW
    },
    Setting {
        name: "HSTS_SECONDS",
        group: Group::Proxies,
        kind: "seconds",
        about: "How long browsers shall use HTTPS alone, told with every answer over HTTPS \
                (Strict-Transport-Security); 0 tells them nothing.",
        set: |c, v| put(&mut c.hsts, value::hsts(v)),
        show: |c| c.hsts.as_secs().to_string(),
        ..ROW
    },
    Setting {
        name: "ALLOW_PLAIN_HTTP",
        group: Group::Proxies,
        kind: "true or false",
        about: "Whether credentials are taken over plain HTTP from other machines, for networks \
                that encrypt what they carry, such as a service mesh.",
        set: |c, v| put(&mut c.allow_plain_http, Word::parse(v)),
        show: |c| c.allow_plain_http.word().into(),
        ..ROW
    },
];
