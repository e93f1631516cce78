/** A nested stream: guest tables in an IPA space that starts at {@link BASE}, which stage 2 maps to {@link OFFSET} more. */

import { type SmmuDescription, tiny } from '#machine';
import { cdWord, mapPage, S1_RW, S2_RW, Setup, stage2Word } from './bench-setup.ts';

/** IPA of the guest's page 0; its physical page is at the IPA plus {@link OFFSET}. */
export const BASE = 0x1000_0000;
export const OFFSET = 0x3010_0000;
export const IOVA = 0x1234_5000;
export const VMID = 5;
export const ASID = 9;
/** IPAs of the CD, the stage-1 tables of levels 1 to 3, and the page that {@link IOVA} maps to. */
export const CD = BASE;
export const L1 = BASE + 0x1000;
export const L2 = BASE + 0x2000;
export const L3 = BASE + 0x3000;
export const DATA = BASE + 0x8000;
export const SID = 3;
const GUEST_PAGES = 64;

/** An SMMU like that of `tiny` with what is given instead. */
export function smmuWith(change: Partial<SmmuDescription>): Setup {
  return new Setup({ ...tiny, smmus: [{ ...tiny.smmus[0]!, ...change }] });
}

export class NestedSetup {
  readonly s: Setup;
  readonly top: number;
  /** Address of the stage-2 descriptor of each guest page. */
  readonly leaves: number[] = [];

  constructor(change: Partial<SmmuDescription> = {}) {
    this.s = smmuWith(change);
    const { s } = this;
    this.top = s.pair();
    for (let i = 0; i < GUEST_PAGES; i++) {
      const ipa = BASE + 4096 * i;
      this.leaves.push(mapPage(s, this.top, ipa, BigInt(ipa + OFFSET) | BigInt(S2_RW) | 3n).at);
    }
    this.guest(L1, 0, BigInt(L2) | 3n);
    this.guest(L2, Math.floor(IOVA / 2 ** 21) % 512, BigInt(L3) | 3n);
    this.guest(L3, Math.floor(IOVA / 4096) % 512, BigInt(DATA) | BigInt(S1_RW) | 3n);
    this.guest(CD, 1, BigInt(L1));
    this.guest(CD, 0, cdWord(ASID));
    s.enable();
    this.attach();
    s.cfgiAll();
    s.command(0x30n);
    s.sync();
  }

  /** Writes word `index` of the guest's table at an IPA, where stage 2 maps it at first. */
  guest(ipa: number, index: number, value: bigint): void {
    this.s.put(ipa + OFFSET + 8 * index, value);
  }

  /** Address of the guest's leaf for {@link IOVA}. */
  get leafAt(): number {
    return L3 + OFFSET + 8 * (Math.floor(IOVA / 4096) % 512);
  }

  /** The stage-2 descriptor that maps a guest page. */
  stage2Of(ipa: number): number {
    return this.leaves[Math.floor((ipa - BASE) / 4096)]!;
  }

  attach(word0 = BigInt(CD) | 0xfn, word1 = 0xd4n, word2 = stage2Word(VMID)): void {
    this.s.ste(SID, word0, word1, word2, BigInt(this.top));
  }

  nhAll(): void {
    this.s.command(0x10n | (BigInt(VMID) << 32n));
  }

  nhVa(iova: number, leaf = true): void {
    this.s.command(
      0x12n | (BigInt(VMID) << 32n) | (BigInt(ASID) << 48n),
      BigInt(iova - (iova % 4096)) | (leaf ? 1n : 0n),
    );
  }

  /** Does the access; gives the physical address, the words of the event, or `silent`. */
  access(iova: number, write = false, ssid?: number): number | bigint[] | 'silent' {
    const { s } = this;
    const device = s.machine.devices.find(({ sid }) => sid === SID)!;
    const before = s.smmu.read32(0x100a8);
    const options = ssid === undefined ? {} : { ssid };
    const result = write ? device.write(iova, [1], options) : device.read(iova, 1, options);
    if (result.ok) return result.pa;
    return s.smmu.read32(0x100a8) === before ? 'silent' : s.lastEvent();
  }
}
