//! What becomes of one question, without sockets.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::directory::Directory;

/// Seconds an answer may be kept: a container that is made anew has another address.
const TTL: u32 = 1;
/// The longest answer over UDP that crosses every link whole.
const UDP_LIMIT: u16 = 1232;
/// Length of the header of a message.
const HEADER: usize = 12;

/// What becomes of a question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answer(Vec<u8>),
    /// It goes on to the host's resolvers.
    Forward,
    /// It is no question.
    Nothing,
}

/// Decides on the question of `asker`; `limit` says whether the answer must fit a datagram.
pub(crate) fn answer(
    directory: &Directory,
    asker: IpAddr,
    question: &[u8],
    limit: bool,
) -> Outcome {
    let message = match Message::from_vec(question) {
        Ok(message) => message,
        Err(_) if question.len() >= HEADER && question[2] & 0x80 == 0 => {
            return refused(question, ResponseCode::FormErr);
        }
        Err(_) => return Outcome::Nothing,
    };
    if message.metadata.message_type == MessageType::Response {
        return Outcome::Nothing;
    }
    if message.metadata.op_code != OpCode::Query {
        return refused(question, ResponseCode::NotImp);
    }
    let [query] = &message.queries[..] else {
        return refused(question, ResponseCode::FormErr);
    };
    let Some(records) = records(directory, asker, query) else {
        return Outcome::Forward;
    };
    let mut reply = Message::response(0, OpCode::Query);
    reply.metadata = Metadata::response_from_request(&message.metadata);
    reply.metadata.authoritative = true;
    reply.metadata.recursion_available = true;
    reply.add_query(query.clone());
    reply.add_answers(records);
    if message.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_LIMIT);
        reply.set_edns(edns);
    }
    let Ok(mut bytes) = reply.to_vec() else {
        return refused(question, ResponseCode::ServFail);
    };
    let most = message.max_payload().min(UDP_LIMIT);
    if limit && bytes.len() > most.into() {
        // The asker asks again over TCP.
        match reply.truncate().to_vec() {
            Ok(truncated) => bytes = truncated,
            Err(_) => return refused(question, ResponseCode::ServFail),
        }
    }
    Outcome::Answer(bytes)
}

/// The answer that no resolver gave one.
pub(crate) fn failure(question: &[u8]) -> Outcome {
    refused(question, ResponseCode::ServFail)
}

fn refused(question: &[u8], code: ResponseCode) -> Outcome {
    let Some(&[first, second]) = question.first_chunk::<2>() else {
        return Outcome::Nothing;
    };
    let id = u16::from_be_bytes([first, second]);
    let mut reply = match Message::from_vec(question) {
        Ok(message) => {
            let mut reply = Message::response(id, message.metadata.op_code);
            reply.metadata = Metadata::response_from_request(&message.metadata);
            reply.add_queries(message.queries);
            reply
        }
        Err(_) => Message::response(id, OpCode::Query),
    };
    reply.metadata.recursion_available = true;
    reply.metadata.response_code = code;
    reply.to_vec().map_or(Outcome::Nothing, Outcome::Answer)
}

/// The records that answer a query about containers; none at all where a name has no such record.
fn records(directory: &Directory, asker: IpAddr, query: &Query) -> Option<Vec<Record>> {
    if query.query_class() != DNSClass::IN {
        return None;
    }
    let name = query.name();
    let record = |data: RData| Record::from_rdata(name.clone(), TTL, data);
    if query.query_type() == RecordType::PTR
        && let Ok(net) = name.parse_arpa_name()
        && net.prefix_len() == net.max_prefix_len()
    {
        let found = directory.name(asker, net.addr())?;
        let mut found = Name::from_ascii(found).ok()?;
        found.set_fqdn(true);
        return Some(vec![record(RData::PTR(PTR(found)))]);
    }
    let text = name.to_ascii();
    let addresses = directory.addresses(asker, text.trim_end_matches('.'))?;
    let addresses = addresses.into_iter();
    let data = addresses.filter_map(|address| match (address, query.query_type()) {
        (IpAddr::V4(address), RecordType::A) => Some(RData::A(A(address))),
        (IpAddr::V6(address), RecordType::AAAA) => Some(RData::AAAA(AAAA(address))),
        _ => None,
    });
    Some(data.map(record).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::directory::Container;

    fn container(network: &str, names: &[&str], addresses: &[&str]) -> Container {
        Container {
            network: network.to_owned(),
            names: names.iter().map(|it| (*it).to_owned()).collect(),
            addresses: addresses.iter().map(|it| it.parse().unwrap()).collect(),
        }
    }

    fn directory() -> Directory {
        let crowd = (1..=100).map(|at| {
            let address = format!("10.66.0.{at}");
            container("crowd", &["all"], &[&address])
        });
        let few = [
            container(
                "net",
                &["web", "Alias.example"],
                &["10.65.0.1", "fd00:65::1"],
            ),
            container("net", &["db", "alias.example"], &["10.65.0.2"]),
            container("other", &["web"], &["10.65.0.3"]),
        ];
        Directory::new(few.into_iter().chain(crowd))
    }

    fn question(name: &str, kind: RecordType) -> Message {
        let mut message = Message::new(77, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message
    }

    fn ask(asker: &str, name: &str, kind: RecordType) -> Option<Vec<String>> {
        let question = question(name, kind).to_vec().unwrap();
        match answer(&directory(), asker.parse().unwrap(), &question, true) {
            Outcome::Answer(bytes) => {
                let reply = Message::from_vec(&bytes).unwrap();
                assert_eq!(reply.metadata.id, 77);
                assert!(reply.metadata.recursion_available && reply.metadata.authoritative);
                assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
                assert_eq!(reply.queries[0].name().to_ascii(), name);
                let answers = reply.answers.iter();
                Some(answers.map(|it| it.data.to_string()).collect())
            }
            Outcome::Forward => None,
            Outcome::Nothing => panic!("it is a question"),
        }
    }

    #[test]
    fn containers_of_a_network_find_each_other() {
        let found = |texts: &[&str]| Some(texts.iter().map(|it| (*it).to_owned()).collect());
        let of_net = "10.65.0.2";
        for (asker, name, kind, wanted) in [
            (of_net, "web.", RecordType::A, found(&["10.65.0.1"])),
            ("fd00:65::1", "DB.", RecordType::A, found(&["10.65.0.2"])),
            (of_net, "web.", RecordType::AAAA, found(&["fd00:65::1"])),
            // It has the name and no such record.
            (of_net, "db.", RecordType::AAAA, found(&[])),
            (of_net, "db.", RecordType::MX, found(&[])),
            (
                of_net,
                "alias.example.",
                RecordType::A,
                found(&["10.65.0.1", "10.65.0.2"]),
            ),
            (
                of_net,
                "1.0.65.10.in-addr.arpa.",
                RecordType::PTR,
                found(&["web."]),
            ),
            // Another network's, nobody's, and somebody whom nobody knows.
            ("10.65.0.3", "db.", RecordType::A, None),
            ("10.65.0.3", "web.", RecordType::A, found(&["10.65.0.3"])),
            (of_net, "3.0.65.10.in-addr.arpa.", RecordType::PTR, None),
            (of_net, "65.10.in-addr.arpa.", RecordType::PTR, None),
            (of_net, "web.example.", RecordType::A, None),
            ("10.65.0.9", "web.", RecordType::A, None),
        ] {
            assert_eq!(
                ask(asker, name, kind),
                wanted,
                "{asker} asks for {name} {kind}"
            );
        }
    }

    #[test]
    fn what_is_no_question_is_refused() {
        let asker = "10.65.0.1".parse().unwrap();
        let code = |bytes: &[u8]| match answer(&directory(), asker, bytes, true) {
            Outcome::Answer(bytes) => Some(Message::from_vec(&bytes).unwrap()),
            Outcome::Forward | Outcome::Nothing => None,
        };
        let mut none = question("web.", RecordType::A);
        none.queries.clear();
        let mut notify = question("web.", RecordType::A);
        notify.metadata.op_code = OpCode::Notify;
        let mut response = question("web.", RecordType::A);
        response.metadata.message_type = MessageType::Response;
        let cut = question("web.", RecordType::A).to_vec().unwrap();
        for (bytes, wanted) in [
            (none.to_vec().unwrap(), Some(ResponseCode::FormErr)),
            (cut[..cut.len() - 3].to_vec(), Some(ResponseCode::FormErr)),
            (notify.to_vec().unwrap(), Some(ResponseCode::NotImp)),
            (response.to_vec().unwrap(), None),
            (vec![0; 5], None),
        ] {
            let reply = code(&bytes);
            let said = reply.as_ref().map(|it| it.metadata.response_code);
            assert_eq!(said, wanted, "{bytes:?}");
            if let Some(reply) = reply {
                assert_eq!(reply.metadata.id, 77);
            }
        }
    }

    proptest! {
        /// Whatever comes, nothing panics, and an answer is one to what came.
        #[test]
        fn nothing_that_comes_is_too_strange(
            mut bytes in vec(any::<u8>(), 0..80),
            known in any::<bool>(),
            changes in vec((any::<Index>(), any::<u8>()), 0..4),
            limit in any::<bool>(),
        ) {
            if known {
                bytes = question("alias.example.", RecordType::A).to_vec().unwrap();
            }
            for (at, byte) in changes {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            let asker = "10.65.0.1".parse().unwrap();
            if let Outcome::Answer(reply) = answer(&directory(), asker, &bytes, limit) {
                let reply = Message::from_vec(&reply).unwrap();
                prop_assert_eq!(reply.metadata.id.to_be_bytes(), [bytes[0], bytes[1]]);
                prop_assert_eq!(reply.metadata.message_type, MessageType::Response);
            }
        }
    }

    #[test]
    fn an_answer_too_long_for_a_datagram_is_asked_for_over_tcp() {
        let asker = "10.66.0.1".parse().unwrap();
        let question = question("all.", RecordType::A).to_vec().unwrap();
        for (limit, truncated, count) in [(true, true, 0), (false, false, 100)] {
            let Outcome::Answer(bytes) = answer(&directory(), asker, &question, limit) else {
                panic!("a name that is known");
            };
            let reply = Message::from_vec(&bytes).unwrap();
            assert_eq!(reply.metadata.truncation, truncated);
            assert_eq!(reply.answers.len(), count);
        }
    }
}
