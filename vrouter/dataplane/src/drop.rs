//! Why a packet ends here: every reason has a name for counters and a sentence for people.

macro_rules! reasons {
    ($(#[$doc:meta])* $enum:ident { $($variant:ident $name:literal $sentence:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $enum {
            $(#[doc = $sentence] $variant,)*
        }

        impl $enum {
            /// All of them, in counter order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The counter's name: lower case with dashes, stable.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One sentence for an operator.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }

            /// The position in a counter array.
            pub fn index(self) -> usize {
                self as usize
            }
        }
    };
}

reasons! {
    /// Reasons for which a packet is dropped.
    DropReason {
        EthernetTruncated "ethernet-truncated" "The frame is shorter than an Ethernet header.",
        EthernetUnknownType "ethernet-unknown-type" "The EtherType is neither IPv4, IPv6 nor ARP.",
        EthernetNotForUs "ethernet-not-for-us" "The destination MAC is neither the gateway's nor a group address.",
        SpoofedMac "spoofed-mac" "A workload sent from a MAC that is not its own.",
        SpoofedSource "spoofed-source" "A workload sent from an address that is not its own.",
        Multicast "multicast" "Broadcast and multicast are not forwarded.",
        ArpMalformed "arp-malformed" "The ARP packet cannot be parsed (RFC 826).",
        ArpUnanswered "arp-unanswered" "ARP for an address the router does not answer for, or no request.",
        NdMalformed "nd-malformed" "The neighbor discovery message cannot be parsed (RFC 4861).",
        NdUnanswered "nd-unanswered" "Neighbor discovery the router does not answer: other targets, router and multicast discovery.",
        IpTruncated "ip-truncated" "The packet is shorter than its IP header says.",
        IpBadVersion "ip-bad-version" "The IP version is neither 4 nor 6, or not the one the link announced.",
        IpBadHeader "ip-bad-header" "The IP header contradicts itself (header length, total length, extension chain).",
        IpBadChecksum "ip-bad-checksum" "The IPv4 header checksum is wrong.",
        IpSourceRoute "ip-source-route" "Source routing (IPv4 options, IPv6 routing type 0) is refused (RFC 7126, RFC 5095).",
        Martian "martian" "The source or destination cannot be forwarded (loopback, unspecified, link-local, group source).",
        TransportTruncated "transport-truncated" "The transport header is cut short or contradicts itself.",
        OffloadMalformed "offload-malformed" "The virtio-net header contradicts the packet it stands before.",
        FragmentMalformed "fragment-malformed" "A fragment that cannot be part of a packet: overlap, overflow or odd length (RFC 5722).",
        FragmentLimit "fragment-limit" "No room to hold another incomplete packet.",
        FragmentTimeout "fragment-timeout" "The rest of a fragmented packet did not arrive in time.",
        TtlExceeded "ttl-exceeded" "The TTL or hop limit ran out here; the sender was told where allowed.",
        NoRoute "no-route" "No route to the destination.",
        Blackhole "blackhole" "The destination lies in a block of this node, but no endpoint has it.",
        TooBig "too-big" "Larger than the next link's MTU and not to be fragmented; the sender was told where allowed.",
        PathTooBig "path-too-big" "Larger than the path to the other node carries and not to be fragmented; the sender was told where allowed.",
        StaleAdjacency "stale-adjacency" "The route points to an adjacency that is gone.",
        Hairpin "hairpin" "The packet would leave the way it came (tunnel to tunnel, host to host).",
        InterfaceUnknown "interface-unknown" "The interface it came in by is not in the tables: its workload is just coming or going.",
        InterfaceUnnamed "interface-unnamed" "A frame by vrouter0 that names no workload: the host sent it, or its workload is just coming or going.",
        InterfaceDown "interface-down" "The interface to send on is gone.",
        TxFull "tx-full" "The interface took no more packets.",
        TxError "tx-error" "The interface refused the packet.",
        TxTooBig "tx-too-big" "The kernel refused the packet: larger than the path to the other node carries.",
        NoBuffer "no-buffer" "No buffer was free for a packet the router had to make.",
        PolicyDenied "policy-denied" "A rule of a policy or profile denies the packet.",
        PolicyDefaultDeny "policy-default-deny" "No rule allows the packet: the end of a tier, or no profile.",
        EndpointToHost "endpoint-to-host" "The host does not accept packets of its endpoints (defaultEndpointToHostAction).",
        TunnelFromWorkload "tunnel-from-workload" "A workload sent VXLAN or IPIP of its own.",
        TunnelUnknownSource "tunnel-unknown-source" "Encapsulated packet from an address that is no known node.",
        TunnelMalformed "tunnel-malformed" "The tunnel's headers are cut short, wrong, or have flags that are not allowed.",
        TunnelUnknownVni "tunnel-unknown-vni" "VXLAN with a VNI that is not ours.",
        TunnelEcn "tunnel-ecn" "Congestion was marked on the underlay, but the inner packet cannot carry it (RFC 6040).",
        TunnelInnerLink "tunnel-inner-link" "The inner frame is not addressed to this node or is no IP packet.",
        IcmpErrorUnrelated "icmp-error-unrelated" "An ICMP error about no flow that is known here.",
        FlowTableFull "flow-table-full" "The flow table has no room for a new flow.",
        FlowLimit "flow-limit" "The workload has as many flows as it may (flowsPerEndpoint).",
        FlowRate "flow-rate" "New flows come faster than they are admitted (newFlowsPerSecond).",
        FlowInvalid "flow-invalid" "The packet does not fit the state of its flow.",
        SegmentFailed "segment-failed" "The super-packet cannot be cut into segments.",
        SegmentTooSmall "segment-too-small" "A super-packet that would take too many buffers: its segments are a few bytes each.",
    }
}

reasons! {
    /// Why the router itself made a packet (the left side of the conservation law).
    GenerateReason {
        ArpReply "arp-reply" "Answer to an ARP request.",
        NdAdvertisement "nd-advertisement" "Answer to a neighbor solicitation.",
        EchoReply "echo-reply" "Answer to an echo request to the gateway.",
        IcmpError "icmp-error" "An ICMP error to the sender of a dropped packet.",
        Segment "segment" "A packet cut from a super-packet.",
        Fragment "fragment" "A fragment cut from a packet.",
        Reassembled "reassembled" "A packet put together from fragments.",
        FragmentReleased "fragment-released" "A held fragment given up, to be counted as a drop.",
        Unbatched "unbatched" "One more packet taken from a receive buffer that held several.",
        PolicyReset "policy-reset" "A TCP reset for a session that policy cut.",
    }
}

reasons! {
    /// Why a packet ended here without being a loss (the right side of the conservation law).
    ConsumeReason {
        Arp "arp" "An ARP request that was answered.",
        NdSolicitation "nd-solicitation" "A neighbor solicitation that was answered.",
        Echo "echo" "An echo request to the gateway that was answered.",
        Coalesced "coalesced" "Merged into the super-packet before it.",
        Segmented "segmented" "A super-packet that was cut into segments.",
        Fragmented "fragmented" "A packet that was cut into fragments.",
        FragmentHeld "fragment-held" "A fragment held until its packet is whole.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sentences_end() {
        let mut names: Vec<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::ALL.len());
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), i);
            assert!(reason.sentence().ends_with('.'));
        }
    }
}
