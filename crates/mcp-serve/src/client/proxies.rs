//! The proxies in front of the server: whose word about a client counts.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::{IpNet, Ipv4Net};

/// The shortest prefix of an IPv4 network that is taken: 10.0.0.0/8 is the widest private one.
const V4_PREFIX_MIN: u8 = 8;
/// The shortest prefix of an IPv6 network that is taken: `fc00::/7` is the widest private one.
const V6_PREFIX_MIN: u8 = 7;
/// The bits of an IPv6 address before the IPv4 address that it may stand for (RFC 4291 section
/// 2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

/// The networks whose hosts may say for whom they ask. Empty by default: nobody may.
///
/// An IPv4 address within an IPv6 one (`::ffff:10.0.0.1`) is the IPv4 address.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Nobody.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Networks (`10.0.0.0/8`) and single addresses separated by commas; spaces around them and
    /// empty places do not count.
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        let entries = text.split(',').map(str::trim);
        let networks = entries.filter(|entry| !entry.is_empty()).map(parse_entry);
        networks.collect::<Result<_, _>>().map(Self)
    }

    /// Whether `address` belongs to a proxy.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for TrustedProxies {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, ProxyError> {
        Self::parse(text)
    }
}

impl fmt::Display for TrustedProxies {
    /// The form that [`TrustedProxies::parse`] takes; a single address without its prefix.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, network) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            if network.prefix_len() == network.max_prefix_len() {
                write!(f, "{}", network.addr())?;
            } else {
                write!(f, "{network}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for TrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustedProxies({self})")
    }
}

/// Why a list of proxies was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// So wide a network that strangers are in it.
    #[error(
        "\"{0}\" would let strangers say who they are; name the networks of the proxies alone, at \
         most as wide as 10.0.0.0/8 or fc00::/7"
    )]
    TooWide(String),
    /// A network that is written with an address within it.
    #[error("\"{given}\" is not a network; write {network} for all of it, or {address} alone")]
    HostBits {
        /// What was written.
        given: String,
        /// The network that it lies in.
        network: IpNet,
        /// The address before the slash.
        address: IpAddr,
    },
    /// Neither an address nor a network.
    #[error(
        "\"{0}\" is neither an IP address nor a network such as 10.0.0.0/8; host names are not \
         looked up"
    )]
    Malformed(String),
}

fn parse_entry(entry: &str) -> Result<IpNet, ProxyError> {
    let malformed = || ProxyError::Malformed(entry.to_owned());
    let network = match entry.split_once('/') {
        None => IpNet::from(entry.parse::<IpAddr>().map_err(|_| malformed())?),
        Some((address, bits)) => {
            let address: IpAddr = address.parse().map_err(|_| malformed())?;
            // `u8::from_str` takes a sign.
            let digits = bits.bytes().all(|byte| byte.is_ascii_digit());
            let bits = bits.parse().ok().filter(|_| digits).ok_or_else(malformed)?;
            IpNet::new(address, bits).map_err(|_| malformed())?
        }
    };
    let network = canonical(network);
    let prefix_min = match network {
        IpNet::V4(_) => V4_PREFIX_MIN,
        IpNet::V6(_) => V6_PREFIX_MIN,
    };
    if network.prefix_len() < prefix_min {
        return Err(ProxyError::TooWide(entry.to_owned()));
    }
    if network.addr() != network.network() {
        return Err(ProxyError::HostBits {
            given: entry.to_owned(),
            network: network.trunc(),
            address: network.addr(),
        });
    }
    Ok(network)
}

/// The IPv4 network that an IPv6 one stands for, if it does.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else {
        return network;
    };
    let bits = mapped.prefix_len().checked_sub(MAPPED_PREFIX);
    let found = mapped.addr().to_ipv4_mapped().zip(bits);
    let found = found.and_then(|(address, bits)| Ipv4Net::new(address, bits).ok());
    found.map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trusts(list: &str, address: &str) -> bool {
        let list = TrustedProxies::parse(list).unwrap();
        list.contains(address.parse().unwrap())
    }

    #[test]
    fn networks_and_single_addresses_are_told_apart_from_their_neighbours() {
        let list = "10.0.0.0/8, 192.0.2.7,,fd00:1::/32 ,2001:db8::9";
        for address in [
            "10.255.255.255",
            "10.0.0.0",
            "192.0.2.7",
            "fd00:1:ffff::1",
            "2001:db8::9",
        ] {
            assert!(trusts(list, address), "{address}");
        }
        for address in ["11.0.0.0", "192.0.2.8", "fd00:2::", "2001:db8::a", "::"] {
            assert!(!trusts(list, address), "{address}");
        }
        assert!(!trusts("", "127.0.0.1"));
        assert!(TrustedProxies::parse(" , ").unwrap().is_empty());
    }

    #[test]
    fn an_ipv4_address_in_the_clothes_of_an_ipv6_one_is_the_same_address() {
        assert!(trusts("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(trusts("::ffff:10.0.0.0/104", "10.1.2.3"));
        assert!(trusts("::ffff:192.0.2.7", "192.0.2.7"));
        assert!(!trusts("::ffff:10.0.0.0/104", "11.0.0.0"));
        let printed = TrustedProxies::parse("::ffff:10.0.0.0/104").unwrap();
        assert_eq!(printed.to_string(), "10.0.0.0/8");
    }

    #[test]
    fn everybody_is_not_a_proxy() {
        for wide in [
            "0.0.0.0/0",
            "::/0",
            "::ffff:0.0.0.0/96",
            "0.0.0.0/1",
            "128.0.0.0/1",
            "8000::/1",
            "10.0.0.5/0",
        ] {
            let error = TrustedProxies::parse(&format!("10.0.0.1,{wide}")).unwrap_err();
            assert_eq!(error, ProxyError::TooWide(wide.to_owned()));
            assert!(error.to_string().contains("strangers"), "{error}");
        }
    }

    #[test]
    fn a_network_with_an_address_in_it_is_refused_and_both_readings_are_named() {
        let error = TrustedProxies::parse("10.1.2.3/8").unwrap_err().to_string();
        assert!(
            error.contains("10.0.0.0/8") && error.contains("10.1.2.3 alone"),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "*",
            "true",
            "localhost",
            "proxy.internal",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "10.0.0.0/255.0.0.0",
            "fd00::/129",
            "10.0.0",
            "010.0.0.1",
            "[::1]",
            "10.0.0.1:80",
            "fe80::1%eth0",
            "10.0.0.1 10.0.0.2",
        ] {
            let error = TrustedProxies::parse(text).unwrap_err();
            assert_eq!(error, ProxyError::Malformed(text.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_list_or_an_error(text in "[0-9a-f:./, ]{0,40}|.{0,40}") {
            if let Ok(list) = TrustedProxies::parse(&text) {
                prop_assert_eq!(TrustedProxies::parse(&list.to_string()), Ok(list));
            }
        }

        #[test]
        fn a_network_contains_what_has_its_prefix(
            network in any::<u32>(), bits in 8u8..=32, address in any::<u32>()
        ) {
            let mask = u32::MAX << (32 - bits);
            let list = format!("{}/{bits}", std::net::Ipv4Addr::from(network & mask));
            let list = TrustedProxies::parse(&list).unwrap();
            let address = std::net::Ipv4Addr::from(address);
            let inside = u32::from(address) & mask == network & mask;
            prop_assert_eq!(list.contains(address.into()), inside);
            prop_assert_eq!(list.contains(address.to_ipv6_mapped().into()), inside);
        }
    }
}
