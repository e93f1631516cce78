/**
 * Packs the text of a scenario into few bytes: an LZ77 window that starts out filled with the words scenarios are made
 * of. Synchronous and the same everywhere, which the platforms' own compression is not.
 *
 * Bytes: 0x01..0x7f are themselves; 0x00 is followed by one byte of 0x00 or 0x80..0xff; 0x80 + n is followed by a
 * distance (7 bits a byte, low first, top bit: more follow) and copies n + 3 bytes from that far back.
 */

/** Where the window starts, by version: changing a byte of one makes every string shared before unreadable. */
const PRIMER_0 = `fault C_BAD_STE
fault F_STREAM_DISABLED
fault F_PERMISSION
fault F_ADDR_SIZE
fault F_TRANSLATION
expect violation life-cycle panic lock oracle structure streams tables unchanged spec ownership refcount invalidation isolation
 bus error
 -> abort
usb net gpu read 0x cached -> page:
disk write 0x
@cpu1 hvc x0=0xc60000 x1= x2= x3= x4= x5= x6=
 -> not supported
@cpu0 alloc_mgt_reclaimable pool=heap ->  pages
@cpu0 alloc_mgt_reclaim pool=iommu target=
@cpu0 alloc_mgt_refill pool=iommu head=page: count=1
@cpu0 host_unshare_hyp pfn=page:
@cpu0 unshare_guest vm=vm1 gfn= pages=1
@cpu0 finalize_teardown_vm vm=
@cpu0 reclaim_dying_guest_page vm=vm1 gfn=
@cpu0 start_teardown_vm vm=
@cpu0 unreserve_vm vm=
 -> -EINVAL -EBUSY -ENOENT -ENODEV -EEXIST -EACCES -E2BIG -ERANGE -EOPNOTSUPP -EPERM
@cpu0 vm1 = reserve_vm -> handle
@cpu0 host_share_hyp pfn=page:
@cpu0 describe page:k vm=vm1 protected=1 vcpus=1 -> ok
@cpu0 init_vm kvm=page:k pgd=page:
@cpu0 vcpu_put
@cpu0 vcpu_load vm=vm1 vcpu=0 -> 0
@cpu0 map_guest pfn=page: gfn=0x pages=1 prot=exec|write|read -> 0
 request heap 1
 order=
@cpu0 topup iommu 4 -> 0
@cpu0 iova_to_phys domain=d1 iova=0x
@cpu0 free_domain domain=d1
@cpu0 detach_dev domain=d1 endpoint=disk
@cpu0 alloc_domain domain=d1 type=s1 -> 0
@cpu0 alloc_domain domain=d2 type=s2 -> -ENOMEM request iommu 1
@cpu0 attach_dev domain=d1 endpoint=disk -> 0
@cpu0 unmap_pages domain=d1 iova=0x pgsize=0x1000 pgcount=1 -> 0x1000 bytes
@cpu0 map_pages domain=d1 iova=0x1ff000 paddr=page:a pgsize=0x1000 pgcount=1 prot=read|write|cache|noexec|mmio|priv -> 0, 0x1000 bytes
postern scenario v0
profile android17
machine tiny
hypervisor postern
title 
`;

/** Version 1 has guests, hardware that does not answer, and schedule points. */
const PRIMER_1 = `smmu0 stops answering
smmu0 answers again
 width=1 -> bus error
@cpu0 guest_hvc x0=0xc600003e x1= -> not supported
@cpu0 guest_free_domain domain=g1 -> invalid
@cpu0 guest_detach_dev pviommu=7 vsid=1 domain=g1 -> 0
@cpu0 guest_unmap_pages domain=g1 iova=0x1000 size=0x1000 -> 0, 0x1000 bytes
@cpu0 guest_map_pages domain=g1 iova=0x1000 ipa=0x10000 size=0x1000 prot=read|write -> 0, 0x1000 bytes request pages 0x
@cpu0 guest_attach_dev pviommu=7 vsid=1 domain=g1 -> again request iommu 1
@cpu0 g1 = guest_alloc_domain -> domain
@cpu0 guest_dev_req_dma pviommu=7 vsid=1 -> token 0x9050000 0x
@cpu0 host_reclaim_hyp_mmio pfn=0xa000 pages=1 -> 0
@cpu0 host_donate_hyp_mmio pfn=0xa000 pages=1 -> 0
@cpu0 pviommu_add_vsid kvm=page:k pviommu=7 iommu=0 endpoint=net vsid=1 -> 0
@cpu0 pviommu_attach kvm=page:k pviommu=7 -> 0
@cpu0 set_identity endpoint=disk on=on -> 0
@cpu1 drain
@cpu1:end
@cpu0:4
machine two-smmus
${PRIMER_0.replace('scenario v0', 'scenario v1')}`;

/** The window at the start, by version of the string. */
const primers = [PRIMER_0, PRIMER_1].map((text) => new TextEncoder().encode(text));

const SHORTEST = 3;
const LONGEST = 130;

/** The packed form of `bytes`, for a string of that version. */
export function pack(bytes: Uint8Array, version: number): Uint8Array {
  const primer = primers[version]!;
  const window = new Uint8Array(primer.length + bytes.length);
  window.set(primer);
  window.set(bytes, primer.length);
  /** Last place at which three bytes were seen, and for each place the one before. */
  const last = new Map<number, number>();
  const previous = new Int32Array(window.length).fill(-1);
  const remember = (at: number): void => {
    if (at + SHORTEST > window.length) return;
    const key = keyAt(window, at);
    previous[at] = last.get(key) ?? -1;
    last.set(key, at);
  };
  for (let i = 0; i < primer.length; i++) remember(i);
  const out: number[] = [];
  for (let at = primer.length; at < window.length; ) {
    const match = longestMatch(window, at, last, previous);
    const length = match === null ? 1 : match.length;
    if (match === null) {
      const byte = window[at]!;
      if (byte === 0 || byte >= 0x80) out.push(0);
      out.push(byte);
    } else {
      out.push(0x80 + length - SHORTEST);
      let distance = at - match.from;
      for (; distance >= 0x80; distance >>>= 7) out.push(0x80 | (distance & 0x7f));
      out.push(distance);
    }
    for (let i = 0; i < length; i++) remember(at + i);
    at += length;
  }
  return Uint8Array.from(out);
}

function keyAt(window: Uint8Array, at: number): number {
  return (window[at]! << 16) | (window[at + 1]! << 8) | window[at + 2]!;
}

/** Chains longer than this are not followed to their end: it would only save a byte now and then. */
const TRIES = 64;

function longestMatch(
  window: Uint8Array,
  at: number,
  last: ReadonlyMap<number, number>,
  previous: Int32Array,
): { from: number; length: number } | null {
  if (at + SHORTEST > window.length) return null;
  let best: { from: number; length: number } | null = null;
  let from = last.get(keyAt(window, at)) ?? -1;
  for (let tries = 0; from >= 0 && tries < TRIES; tries++) {
    let length = SHORTEST;
    while (length < LONGEST && at + length < window.length && window[from + length] === window[at + length]) length++;
    // A match costs two bytes, or three from further away: it must save something.
    const cost = at - from < 0x80 ? 2 : 3;
    if (length > cost && (best === null || length > best.length)) best = { from, length };
    from = previous[from]!;
  }
  return best;
}

/** Longest text that is unpacked: a damaged or hostile string must not fill the memory. */
const UNPACKED_MAX = 1 << 24;

/** The bytes that were packed for that version, or null when `packed` is not the result of {@link pack}. */
export function unpack(packed: Uint8Array, version: number): Uint8Array | null {
  const primer = primers[version];
  if (primer === undefined) return null;
  const out: number[] = Array.from(primer);
  for (let i = 0; i < packed.length; ) {
    const token = packed[i++]!;
    if (token > 0 && token < 0x80) {
      out.push(token);
      continue;
    }
    if (i >= packed.length || out.length > UNPACKED_MAX) return null;
    if (token === 0) {
      out.push(packed[i++]!);
      continue;
    }
    let distance = 0;
    let byte = 0x80;
    for (let shift = 0; byte >= 0x80; shift += 7) {
      if (i >= packed.length || shift > 21) return null;
      byte = packed[i++]!;
      distance |= (byte & 0x7f) << shift;
    }
    if (distance === 0 || distance > out.length) return null;
    for (let n = token - 0x80 + SHORTEST; n > 0; n--) out.push(out[out.length - distance]!);
  }
  return Uint8Array.from(out.slice(primer.length));
}
