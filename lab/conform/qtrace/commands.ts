/** What QEMU says of the commands it consumes, against the raw words of the queue and what the model consumes. */
import type { DecodedCommand } from '../../oracle/decode/command.ts';
import { COMMAND_WORDS, decodeCommand, rangePages } from '../../oracle/decode/command.ts';
import { type Commands, commandCount, commandPlace } from '../commands.ts';
import type { Tally } from '../tally.ts';
import { num, optional, type QemuEvent } from './line.ts';

/** A command as QEMU tells of it: its index, its name, and what follows. */
export interface ConsumedCommand {
  readonly index: number;
  readonly line: number;
  name: string;
  readonly details: QemuEvent[];
}

const PAGE = 4096;
const ALL_STREAMS = 31;
/** Bytes of a page by TG. */
const GRANULES = [PAGE, 2 ** 12, 2 ** 14, 2 ** 16];

/** Compares one command. */
export function checkConsumed(commands: Commands, consumed: ConsumedCommand, tally: Tally): void {
  const { index, line, name, details } = consumed;
  tally.begin('commands consumed', () => `line ${line}, ${commandPlace(commands, index)}`);
  if (index >= commandCount(commands)) {
    tally.differs('index', `one of ${commandCount(commands)} commands`, String(index));
  } else {
    const decoded = decodeCommand(commands, COMMAND_WORDS * index);
    tally.same('opcode', name, decoded.name === 'CFGI_ALL' ? 'CFGI_STE_RANGE' : decoded.name);
    for (const detail of details) checkDetail(detail, decoded, tally);
    checkRange(details, decoded, commands[COMMAND_WORDS * index]!, tally);
  }
  tally.end();
}

function fieldOf(decoded: DecodedCommand, name: string): number | undefined {
  return decoded.fields.find((field) => field.name === name)?.value;
}

function checkDetail(detail: QemuEvent, decoded: DecodedCommand, tally: Tally): void {
  const same = (field: string, name: string): void => {
    const said = optional(detail, field);
    if (said !== null) tally.same(`${name} (line ${detail.line})`, said, fieldOf(decoded, name));
  };
  switch (detail.name) {
    case 'smmuv3_cmdq_cfgi_ste':
    case 'smmuv3_cmdq_cfgi_cd':
      same('sid', 'SID');
      break;
    case 'smmuv3_config_cache_inv':
    case 'smmu_config_cache_inv': {
      const [first, last] = streams(decoded);
      const sid = num(detail, 'sid');
      tally.same(`stream in the command (line ${detail.line})`, true, sid >= first && sid <= last);
      break;
    }
    case 'smmuv3_cmdq_cfgi_ste_range':
    case 'smmu_configs_inv_sid_range':
      tally.same(`streams (line ${detail.line})`, [num(detail, 'start'), num(detail, 'end')], streams(decoded));
      break;
    case 'smmuv3_cmdq_tlbi_nh_asid':
    case 'smmu_iotlb_inv_asid':
    case 'smmu_iotlb_inv_asid_vmid':
      same('asid', 'ASID');
      same('vmid', 'VMID');
      break;
    default:
      break;
  }
}

/** First and last stream that a CFGI command names. */
function streams(decoded: DecodedCommand): [number, number] {
  const sid = fieldOf(decoded, 'SID') ?? 0;
  const range = fieldOf(decoded, 'Range');
  if (range === undefined) return [sid, sid];
  if (range === ALL_STREAMS) return [0, 2 ** 32 - 1];
  const size = 2 ** (range + 1);
  const first = sid - (sid % size);
  return [first, first + size - 1];
}

/** QEMU splits a range into aligned pieces; together they must be what the command names. */
function checkRange(details: readonly QemuEvent[], decoded: DecodedCommand, lo0: number, tally: Tally): void {
  const pieces = details.filter(({ name }) => name === 'smmuv3_s1_range_inval' || name === 'smmuv3_range_inval');
  const [first] = pieces;
  if (first === undefined) return;
  const tg = fieldOf(decoded, 'TG')!;
  let next = fieldOf(decoded, 'Address')!;
  for (const piece of pieces) {
    tally.same(`address (line ${piece.line})`, num(piece, 'addr'), next);
    next += num(piece, 'pages') * GRANULES[tg]!;
    for (const [field, name] of [
      ['ttl', 'TTL'],
      ['tg', 'TG'],
      ['leaf', 'Leaf'],
      ['vmid', 'VMID'],
      ['asid', 'ASID'],
    ] as const) {
      const value = fieldOf(decoded, name);
      if (value !== undefined) tally.same(`${name} (line ${piece.line})`, num(piece, field), value);
    }
    const stage = optional(piece, 'stage');
    if (stage !== null) tally.same('stage', stage, decoded.name === 'TLBI_S2_IPA' ? 2 : 1);
  }
  const pages = pieces.reduce((sum, piece) => sum + num(piece, 'pages'), 0);
  tally.same('pages', pages, tg === 0 ? 1 : rangePages(lo0));
}
