/** The records of what a host remembers, and what becomes of them when a call has come to something. */

import type { MemoryRequest } from '#hypercall-abi';
import type { CallStep, GuestStep, PageRef, Value } from '../scenario/index.ts';

const PAGE_SIZE = 4096;
/** Remembered ranges per domain: old ones make room. */
const REMEMBERED = 12;

export interface Mapping {
  readonly iova: number;
  /** Bytes. */
  readonly size: number;
  readonly pgsize: number;
  readonly paddr: Value;
}

/** A stream by name, or a PASID of it. */
export interface Attached {
  readonly name: string;
  readonly pasid: number;
}

export interface Domain {
  readonly name: string;
  live: boolean;
  /** The IOMMU that it was made for. */
  iommu: number;
  readonly attached: Attached[];
  readonly mappings: Mapping[];
  /** Ranges that were mapped once. */
  readonly unmapped: Mapping[];
}

/** A domain that a guest has, or had. */
export interface GuestDomain {
  readonly name: string;
  /** Its number, once it has one. */
  id: number;
  live: boolean;
  /** Virtual StreamIDs. */
  readonly attached: number[];
  readonly mappings: { readonly iova: number; readonly size: number }[];
}

export type VmStage = 'reserved' | 'shared' | 'described' | 'live' | 'dying' | 'gone';

export interface Vm {
  readonly name: string;
  stage: VmStage;
  readonly isProtected: boolean;
  /** Page that holds its description. */
  readonly page: string;
  /** CPU on which a vCPU of it is loaded, or -1. */
  loadedOn: number;
  readonly guestPages: { readonly gfn: number; readonly page: PageRef }[];
  /** Number of its paravirtual IOMMU, or -1; the stream that each virtual StreamID stands for. */
  pviommu: number;
  readonly routes: string[];
  /** Virtual StreamIDs whose devices it has. */
  readonly claimed: number[];
  readonly domains: GuestDomain[];
}

/** A call that ended for want of something that the host can give. */
export interface Asked {
  readonly step: CallStep | GuestStep;
  /** Memory for a pool. */
  readonly request: MemoryRequest | null;
  /** Guest pages from there. */
  readonly ipa: number | null;
}

/** A call that came to something, and of a guest's the stream that it was about, if any. */
export interface Used {
  readonly step: CallStep | GuestStep;
  readonly endpoint: string;
}

export type PageHolder = 'host' | 'shared' | 'guest' | 'hyp';

/** A guest of that VM has made a call that came to something. */
export function guestSucceeded(
  vm: Vm,
  domain: GuestDomain | undefined,
  { call, args }: GuestStep,
  value: number,
): void {
  const vsid = num(args.vsid);
  switch (call) {
    case 'guest_dev_req_dma':
      if (!vm.claimed.includes(vsid)) vm.claimed.push(vsid);
      return;
    case 'guest_alloc_domain':
      if (domain === undefined) return;
      domain.live = true;
      domain.id = value;
      return;
    case 'guest_free_domain':
      if (domain === undefined) return;
      domain.live = false;
      domain.mappings.length = 0;
      return;
    case 'guest_attach_dev':
      domain?.attached.push(vsid);
      return;
    case 'guest_detach_dev': {
      const at = domain?.attached.indexOf(vsid) ?? -1;
      if (at >= 0) domain?.attached.splice(at, 1);
    }
  }
}

/** Something was mapped in the domain. */
export function remember({ mappings }: Domain, mapping: Mapping): void {
  mappings.push(mapping);
  if (mappings.length > REMEMBERED) mappings.shift();
}

/** That range of the domain is mapped no more. */
export function forget(domain: Domain, iova: number, size: number): void {
  const end = iova + size;
  for (const mapping of domain.mappings.splice(0)) {
    const mappedEnd = mapping.iova + mapping.size;
    if (mapping.iova >= end || mappedEnd <= iova) {
      domain.mappings.push(mapping);
      continue;
    }
    if (mapping.iova < iova) domain.mappings.push({ ...mapping, size: iova - mapping.iova });
    if (mappedEnd > end) domain.mappings.push({ ...mapping, iova: end, size: mappedEnd - end, pgsize: PAGE_SIZE });
    domain.unmapped.push(mapping);
    if (domain.unmapped.length > REMEMBERED) domain.unmapped.shift();
  }
}

/** A number that an argument is, or 0. */
export function num(value: Value | undefined): number {
  return typeof value === 'number' ? value : 0;
}

/** The name that an argument is, or none. */
export function nameIn(value: Value | undefined): string {
  return typeof value === 'object' && 'name' in value ? value.name : '';
}

/** The page that an argument names, or none. */
export function pageIn(value: Value | undefined): string {
  return typeof value === 'object' && 'page' in value ? value.page : '';
}
