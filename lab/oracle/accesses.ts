/**
 * Accesses that went through, of a device or of the host, judged by where they ended: the theorem on what happened, and
 * not only on what the tables allow. It also holds where the hardware does something else than the decoded bytes say.
 */

import { type Facts, Place } from './facts.ts';
import { type Findings, hex } from './findings.ts';
import type { Ghost } from './ghost.ts';
import { isWritable } from './leaf.ts';
import { LEAF_BYTES } from './maplets.ts';

const IOVA_END = 2 ** 48;

/** An access of a device that went through. */
export interface DeviceAccess {
  readonly smmu: number;
  readonly sid: number;
  /** 0 for an access without one. */
  readonly pasid: number;
  /** As the device gave it; negative for the upper half of the space. */
  readonly iova: number;
  readonly pa: number;
  readonly write: boolean;
  /** Whether it was translated by what a cache may still have held, and not by what the tables say. */
  readonly cached: boolean;
}

export class Accesses {
  private readonly facts: Facts;
  private readonly ghost: Ghost;
  private readonly findings: Findings;

  constructor(facts: Facts, ghost: Ghost, findings: Findings) {
    this.facts = facts;
    this.ghost = ghost;
    this.findings = findings;
  }

  /** Whose the memory at `pa` is, if a domain (-1: the host itself) may not lead there; null when it may. */
  private stranger(pa: number, id: number): string | null {
    const page = this.facts.pageOf(pa);
    if (page >= 0) return this.ghost.mayReach(id, page) ? null : `a page of the ${this.ghost.pages.ownerName(page)}`;
    const resource = this.facts.resourceOf(pa);
    if (resource >= 0 && this.ghost.isGiven(resource)) return 'a register of a device on its way to a guest';
    return this.facts.placeOf(pa, 1) === Place.smmu ? 'a register of an SMMU' : null;
  }

  /** A device has read or written `pa`. */
  device({ smmu, sid, pasid, iova, pa, write, cached }: DeviceAccess): void {
    const from = pasid === 0 ? '' : `, PASID ${pasid},`;
    const who = `stream ${hex(sid)}${from} ${write ? 'wrote' : 'read'} ${hex(pa)} at IOVA ${hex(iova)}`;
    const detail = { smmu, sid, pasid, iova, pa };
    const id = this.ghost.streamDomain(smmu, sid, pasid);
    const stranger = this.stranger(pa, id);
    if (stranger !== null) {
      this.findings.add('isolation', 'device-reached', `${who}, ${stranger}`, detail);
      return;
    }
    if (this.ghost.smmuOff(smmu)) {
      this.findings.add('isolation', 'device-smmu-off', `${who}, behind an SMMU that is off`, detail);
      return;
    }
    if (id < 0) {
      this.findings.add('isolation', 'device-not-attached', `${who}, attached to nothing`, detail);
      return;
    }
    // What a cache may hold is for the invalidation automaton to say: only whose the page is counts then.
    if (cached || this.allows(id, iova, pa, write)) return;
    this.findings.add('tables', 'device-reached', `${who}, where domain ${id} maps nothing of the kind`, detail);
  }

  /** Whether the domain maps `iova` to `pa`, for writing if that is what was done. */
  private allows(id: number, iova: number, pa: number, write: boolean): boolean {
    if (iova < 0 || iova >= IOVA_END) return false;
    // Whose the memory is was judged before.
    if (id === this.facts.profile.domains.identity) return iova === pa;
    const { maplets } = this.ghost;
    const at = maplets.find(this.ghost.domainMaplets(id), iova, 3);
    if (!maplets.isLeaf(at)) return false;
    const offset = iova % LEAF_BYTES[maplets.level]!;
    if (maplets.targetPage(at) * LEAF_BYTES[3]! + offset !== pa) return false;
    return !write || isWritable(this.ghost.domainStage(id), maplets.meaning(at));
  }

  /** The host has read or written `ipa` from a CPU, which led to `pa`. */
  host(cpu: number, ipa: number, pa: number, write: boolean): void {
    const who = `the host, on CPU ${cpu}, ${write ? 'wrote' : 'read'} ${hex(pa)}`;
    const stranger = this.stranger(pa, -1);
    if (stranger !== null) this.findings.add('isolation', 'host-reached', `${who}, ${stranger}`, { cpu, pa });
    if (pa === ipa) return;
    const text = `${who} when it meant ${hex(ipa)}: its stage 2 must be an identity map`;
    this.findings.add('ownership', 'host-elsewhere', text, { cpu, ipa, pa });
  }
}
