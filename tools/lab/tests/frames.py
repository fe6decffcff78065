"""The scapy side of the end-to-end tests: makes frames as a peer or an attacker would, and sends
or saves them.

frames.py peer OUT            what a good and a spoofing peer sends to node1, as a pcap file
frames.py malformed OUT       malformed underlay frames for node1, as a pcap file
frames.py malformed-pod MAC   sends malformed frames from the eth0 of the pod that this runs in
frames.py forged OUT          ICMP errors for node1 that quote what it never sent, as a pcap file
frames.py flood MAC FROM TO   sends SYNs from 4000 ports by the eth0 of the pod that this runs in
"""
import os
import random
import socket
import struct
import sys

from scapy.all import (ARP, ICMP, IP, TCP, UDP, Ether, ICMPv6EchoRequest, ICMPv6ND_NS,
                       ICMPv6PacketTooBig, IPv6,
                       IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, Raw, VXLAN,
                       conf, fragment, sendp, wrpcap)

NODE1, NODE2, STRANGER = "172.16.1.11", "172.16.1.12", "172.16.1.99"
POD1, POD2 = "10.65.0.1", "10.65.0.65"
MAC1, MAC2 = "02:16:00:00:00:01", "02:16:00:00:00:02"
VTEP1, VTEP2 = "66:65:00:00:00:01", "66:65:00:00:00:02"


def underlay(src, packet):
    return Ether(dst=MAC1, src=MAC2) / IP(src=src, dst=NODE1, ttl=64, id=random.getrandbits(16)) / packet


def inner(seq, src=POD2, payload=b"x" * 40):
    return IP(src=src, dst=POD1, ttl=63) / ICMP(id=77, seq=seq) / Raw(payload)


def vxlan(src, packet, vni=4096, flags=8):
    frame = Ether(dst=VTEP1, src=VTEP2) / packet
    return underlay(src, UDP(sport=50000, dport=4789) / VXLAN(vni=vni, flags=flags) / frame)


def peer():
    """seq 1-10: IPIP of node2. 101: of a stranger. 201-205: VXLAN of node2. 301: of a stranger.
    501: an inner packet in two outer fragments."""
    frames = [underlay(NODE2, inner(seq)) for seq in range(1, 11)]
    frames.append(underlay(STRANGER, inner(101)))
    frames += [vxlan(NODE2, inner(seq)) for seq in range(201, 206)]
    frames.append(vxlan(STRANGER, inner(301)))
    whole = IP(src=NODE2, dst=NODE1, id=4711) / inner(501, payload=b"y" * 1600)
    frames += [Ether(dst=MAC1, src=MAC2) / part for part in fragment(whole, fragsize=1200)]
    return frames


def broken_ip(src, dst):
    """IP packets that are wrong in every field that a parser reads."""
    base = bytes(IP(src=src, dst=dst, ttl=63) / UDP(sport=1, dport=2) / Raw(b"z" * 64))
    out = [base[:length] for length in (0, 1, 4, 8, 9, 12, 16, 19, 20, 21, 27, 28)]

    def changed(*pairs):
        packet = bytearray(base)
        for at, value in pairs:
            packet[at] = value
        return bytes(packet)

    out += [changed((0, value)) for value in (0x00, 0x40, 0x41, 0x44, 0x4F, 0x55, 0x65, 0xF5)]
    out += [changed((2, high), (3, low)) for high, low in ((0, 0), (0, 19), (0, 20), (255, 255), (1, 0))]
    out += [changed((6, high), (7, low)) for high, low in
            ((0x1F, 0xFF), (0x20, 0), (0x3F, 0xFF), (0x80, 0), (0xFF, 0xFF))]
    out += [changed((8, ttl)) for ttl in (0, 1)]
    out += [changed((9, protocol)) for protocol in (0, 1, 2, 4, 6, 17, 41, 47, 50, 132, 255)]
    out += [changed((10, 0xDE), (11, 0xAD))]
    for options in (b"\x07\x27\x04" + b"\0" * 37, b"\x83\x03\x04\x00", b"\x44\x00\x00\x00", b"\x01" * 40,
                    b"\x94\xff\x00\x00"):
        options += b"\0" * (-len(options) % 4)
        out.append(bytes(IP(src=src, dst=dst, ihl=5 + len(options) // 4) / Raw(options + b"q" * 8)))
    for flags in ("", "S", "SF", "FPU", "SRFPAU", "R"):
        out.append(bytes(IP(src=src, dst=dst) / TCP(sport=0, dport=0, flags=flags)))
    for offset in (0, 1, 4, 15):
        out.append(bytes(IP(src=src, dst=dst) / TCP(sport=5, dport=6, dataofs=offset) / Raw(b"p" * 4)))
    for length in (0, 7, 8, 9, 65535):
        out.append(bytes(IP(src=src, dst=dst) / UDP(sport=5, dport=6, len=length) / Raw(b"p" * 16)))
    for kind in (0, 3, 4, 5, 8, 11, 12, 13, 40, 255):
        out.append(bytes(IP(src=src, dst=dst) / ICMP(type=kind, code=255) / Raw(b"p" * 3)))
    # An error that quotes a cut or absurd packet.
    out += [bytes(IP(src=src, dst=dst) / ICMP(type=3, code=4, nexthopmtu=mtu) / Raw(base[:cut]))
            for mtu in (0, 1, 67, 65535) for cut in (0, 8, 20, 24, 60)]
    # Fragments that overlap, that end beyond 65,535 bytes, and many first ones of no end.
    for offset in (0, 1, 2, 8190, 8191):
        out.append(bytes(IP(src=src, dst=dst, id=9, frag=offset, flags="MF") / Raw(b"f" * 64)))
    out += [bytes(IP(src=src, dst=dst, id=1000 + n, flags="MF") / UDP(sport=1, dport=2) / Raw(b"f" * 8))
            for n in range(300)]
    for bad in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "169.254.1.1"):
        out.append(bytes(IP(src=bad, dst=dst) / UDP() / Raw(b"m")))
        out.append(bytes(IP(src=src, dst=bad) / UDP() / Raw(b"m")))
    out.append(bytes(IP(src=dst, dst=dst) / TCP(sport=80, dport=80, flags="S")))
    return out


def broken_ip6():
    """IPv6 packets: cut, lying about lengths, with chains of extension headers."""
    src, dst = "fd00:65::41", "fd00:65::1"
    base = bytes(IPv6(src=src, dst=dst) / UDP(sport=1, dport=2) / Raw(b"z" * 64))
    out = [base[:length] for length in (1, 6, 8, 24, 39, 40, 41, 47)]
    for length in (0, 1, 71, 73, 65535):
        out.append(bytes(IPv6(src=src, dst=dst, plen=length) / UDP() / Raw(b"z" * 64)))
    chain = IPv6(src=src, dst=dst)
    for _ in range(40):
        chain = chain / IPv6ExtHdrHopByHop()
    out.append(bytes(chain / UDP()))
    for next_header in (0, 43, 44, 50, 51, 58, 59, 60, 135, 255):
        out.append(bytes(IPv6(src=src, dst=dst, nh=next_header) / Raw(b"\xff" * 16)))
        out.append(bytes(IPv6(src=src, dst=dst, nh=next_header)))
    for offset, more in ((0, 0), (0, 1), (8191, 0), (8191, 1)):
        out.append(bytes(IPv6(src=src, dst=dst) / IPv6ExtHdrFragment(offset=offset, m=more, id=7) / Raw(b"f" * 13)))
    out.append(bytes(IPv6(src=src, dst=dst) / IPv6ExtHdrRouting(addresses=[dst] * 3) / UDP()))
    for bad in ("::", "::1", "ff02::1", "::ffff:1.2.3.4", "fe80::1"):
        out.append(bytes(IPv6(src=bad, dst=dst) / ICMPv6EchoRequest()))
        out.append(bytes(IPv6(src=src, dst=bad) / ICMPv6EchoRequest()))
    out.append(bytes(IPv6(src=src, dst=dst) / ICMPv6ND_NS(tgt="fe80::1")))
    return out


def malformed():
    frames = []
    packets = broken_ip(POD2, POD1)
    packets6 = broken_ip6()
    for packet in packets + packets6:
        frames.append(underlay(NODE2, Raw(packet)))
        frames[-1][IP].proto = 4
        ethertype = 0x86DD if packet in packets6 else 0x0800
        shell = bytes(Ether(dst=VTEP1, src=VTEP2, type=ethertype)) + packet
        frames.append(underlay(NODE2, UDP(sport=50001, dport=4789) / VXLAN(vni=4096, flags=8) / Raw(shell)))
    # The tunnel's own headers.
    good = bytes(Ether(dst=VTEP1, src=VTEP2) / inner(1))
    for flags in (0, 1, 0x88, 0xFF):
        frames.append(underlay(NODE2, UDP(sport=1, dport=4789) / VXLAN(vni=4096, flags=flags) / Raw(good)))
    for vni in (0, 1, 4095, 4097, 0xFFFFFF):
        frames.append(underlay(NODE2, UDP(sport=1, dport=4789) / VXLAN(vni=vni, flags=8) / Raw(good)))
    for cut in range(0, 60):
        body = (struct.pack("!BBHI", 8, 0, 0, 4096 << 8) + good)[:cut]
        frames.append(underlay(NODE2, UDP(sport=1, dport=4789) / Raw(body)))
        frames.append(underlay(NODE2, Raw(bytes(inner(1))[:cut])))
        frames[-1][IP].proto = 4
    # Tunnels in tunnels, and noise.
    nested = inner(1)
    for _ in range(20):
        nested = IP(src=POD2, dst=POD1) / nested
    frames.append(underlay(NODE2, nested))
    for n in range(400):
        noise = random.randbytes(random.randint(0, 300))
        frames.append(underlay(NODE2, Raw(noise)))
        frames[-1][IP].proto = 4
        frames.append(underlay(NODE2, UDP(sport=n, dport=4789) / Raw(noise)))
        frames.append(vxlan(NODE2, Raw(noise)))
    return frames


def forged():
    """Errors of the router about packets to node2: other ports, other protocols, no ports at all."""
    router, node2 = "172.16.1.1", "172.16.2.12"
    error = Ether(dst=MAC1, src=MAC2) / IP(src=router, dst=NODE1) / ICMP(type=3, code=4, nexthopmtu=600)
    quoted = IP(src=NODE1, dst=node2, flags="DF", len=1500)
    frames = [error / quoted / UDP(sport=sport, dport=4789) for sport in (9, 53, 4789)]
    frames += [error / quoted / TCP(sport=33333, dport=443), error / (quoted / UDP())]
    frames.append(error / IP(src="172.16.1.99", dst=node2, flags="DF", proto=4, len=1500) / Raw(b"x" * 8))
    router6, node1, node2 = "fd00:16:1::1", "fd00:16:1::11", "fd00:16:2::12"
    error = Ether(dst=MAC1, src=MAC2) / IPv6(src=router6, dst=node1) / ICMPv6PacketTooBig(mtu=1280)
    frames.append(error / IPv6(src=node1, dst=node2, plen=1460) / UDP(sport=9, dport=4789))
    return frames


def flood(gateway, source, destination):
    own = open("/sys/class/net/eth0/address").read().strip()
    frames = (bytes(Ether(dst=gateway, src=own) / IP(src=source, dst=destination) /
                    TCP(sport=port, dport=9, seq=port, flags="S")) for port in range(20000, 24000))
    ready = list(frames)
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    link.bind(("eth0", 0))
    for frame in ready:
        link.send(frame)


def malformed_pod(gateway):
    own = open("/sys/class/net/eth0/address").read().strip()
    head = Ether(dst=gateway, src=own)
    frames = [bytes(Ether(dst=gateway, src=own, type=0x0800)) + packet for packet in broken_ip(POD1, POD2)]
    frames += [bytes(Ether(dst=gateway, src=own, type=0x86DD)) + packet for packet in broken_ip6()]
    # Spoofing: another's address, another's Ethernet address.
    frames += [bytes(head / IP(src="10.65.0.2", dst=POD2) / ICMP()),
               bytes(Ether(dst=gateway, src="02:00:00:00:00:99") / IP(src=POD1, dst=POD2) / ICMP()),
               bytes(head / IP(src=NODE2, dst=POD2) / ICMP()),
               bytes(head / IP(src=POD1, dst=POD2) / IP(src=POD1, dst=POD2) / ICMP())]
    # ARP and types that nobody asked for.
    for op in (0, 1, 2, 3, 0xFFFF):
        frames.append(bytes(Ether(dst="ff:ff:ff:ff:ff:ff", src=own) / ARP(op=op, psrc="10.65.0.2", pdst="10.65.0.2")))
    arp = bytes(Ether(dst="ff:ff:ff:ff:ff:ff", src=own) / ARP(op=1, psrc=POD1, pdst="169.254.1.1"))
    frames += [arp[:cut] for cut in range(14, 42)]
    for kind in (0x0000, 0x05DC, 0x8100, 0x88A8, 0x8847, 0x9000, 0xFFFF):
        frames.append(bytes(Ether(dst=gateway, src=own, type=kind)) + b"\x81\x00\x00\x01\x08\x00" * 6)
    frames += [bytes(head)[:14] + random.randbytes(random.randint(0, 400)) for _ in range(800)]
    socket = conf.L2socket(iface="eth0")
    sent = 0
    for frame in frames:
        try:
            socket.send(Raw(frame))
            sent += 1
        except OSError:
            pass  # the pod's own kernel refuses this one
    return sent


def main():
    random.seed(7)
    what = sys.argv[1]
    if what == "malformed-pod":
        print(malformed_pod(sys.argv[2]))
        return
    if what == "flood":
        flood(*sys.argv[2:])
        return
    frames = {"peer": peer, "forged": forged, "malformed": malformed}[what]()
    fits = [frame for frame in (bytes(frame) for frame in frames) if len(frame) <= 1514]
    wrpcap(sys.argv[2], [Ether(frame) if len(frame) >= 14 else Raw(frame) for frame in fits], linktype=1)
    print(len(fits))


main()
