/** One plain sentence for each call that a guest can make. */
import { type GuestCallSpec, type GuestResult, GuestStatus } from '#hypercall-abi';
import { amount, hex, mappingRights } from './names.ts';

/** A guest's call as a story sees it: arguments by name, as numbers. */
export interface ToldGuestCall {
  /** Undefined for registers that make no call. */
  readonly spec: GuestCallSpec | undefined;
  readonly cpu: number;
  readonly args: Readonly<Record<string, number>>;
  readonly result: GuestResult;
}

/** What a guest's call did, in one sentence or two. */
export function guestSentence(told: ToldGuestCall): string {
  return `${whatCame(told)}${exitSentence(told.result)}`;
}

function whatCame({ spec, cpu, args, result }: ToldGuestCall): string {
  const a = (name: string): number => args[name] ?? 0;
  const who = cpu === 0 ? 'The guest' : `The guest on CPU ${cpu}`;
  if (spec === undefined) return `${who} crosses with registers that make no call: ${answer(result)}.`;
  const device = `the device behind virtual StreamID ${hex(a('vsid'))} of its IOMMU ${a('pviommu')}`;
  const tell = (did: string, wish: string): string =>
    result.status === GuestStatus.success && !result.again
      ? `${who} ${did}.`
      : `${who} wants to ${wish}; ${answer(result)}.`;
  switch (spec.name) {
    case 'guest_dev_req_dma':
      return tell(
        `asks for ${device}, and has it now: stream ${hex(result.value2)} of the SMMU at ${hex(result.value)}`,
        `have ${device}`,
      );
    case 'guest_alloc_domain':
      return tell(`gets domain ${result.value}`, 'get a domain');
    case 'guest_free_domain':
      return tell(`gives domain ${a('domain')} back`, `give domain ${a('domain')} back`);
    case 'guest_attach_dev':
      return tell(`lets ${device} translate through its domain ${a('domain')}`, `attach ${device} to ${a('domain')}`);
    case 'guest_detach_dev':
      return tell(`blocks ${device} again`, `block ${device}`);
    case 'guest_map_pages': {
      const where = `IOVA ${hex(a('iova'))} of its domain ${a('domain')} to its own memory at ${hex(a('ipa'))}`;
      const rights = mappingRights(a('prot'));
      if (result.value >= a('size') && result.status === GuestStatus.success) {
        return `${who} maps ${amount(result.value)} from ${where}, ${rights}.`;
      }
      const part = result.value === 0 ? 'nothing' : `only ${amount(result.value)}`;
      const why = result.status === GuestStatus.success ? '' : `: ${answer(result)}`;
      return `${who} wants to map ${amount(a('size'))} from ${where}, ${rights}; it comes to ${part}${why}.`;
    }
    case 'guest_unmap_pages': {
      const part = result.value === 0 ? 'nothing' : amount(result.value);
      return `${who} unmaps ${part} at IOVA ${hex(a('iova'))} of its domain ${a('domain')}${result.value < a('size') ? `; it asked for ${amount(a('size'))}` : ''}.`;
    }
  }
}

function answer({ status, again }: GuestResult): string {
  if (again) return 'the host must run first, and the guest makes the call again';
  if (status === GuestStatus.invalid) return 'the hypervisor answers that a parameter is invalid';
  if (status === GuestStatus.notSupported) return 'the hypervisor knows no such call of this guest';
  return `the hypervisor answers ${status}`;
}

function exitSentence({ exit }: GuestResult): string {
  if (exit === null) return '';
  if (exit.reason === 'map')
    return ` It ends in the host, which is asked for guest memory: ${amount(exit.size)} at ${hex(exit.ipa)}.`;
  const { pool, pages } = exit.request;
  return ` It ends in the host, which is asked for ${amount(pages * 4096)} in ${pool === 0 ? 'the hypervisor heap' : 'the IOMMU pool'}.`;
}
