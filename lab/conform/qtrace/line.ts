/**
 * Lines of QEMU's own trace of its SMMUv3 (`-trace "smmu*"`, log backend): the name of an event, then its fields. What
 * a field is called and how it is written differs by event and by version of QEMU; the table below has versions 7.2 and
 * 11.1. Events of other names are counted by the caller.
 */
import { InputError, quoted } from '../../input-error.ts';
import type { Word64 } from '../../oracle/decode/fields.ts';

/** One event. Fields are kept as they were written. */
export interface QemuEvent {
  /** From 1. */
  readonly line: number;
  readonly name: EventName;
  readonly text: string;
  readonly fields: Readonly<Record<string, string | undefined>>;
}

const n = '(?:0x[0-9a-f]+|\\d+)';

/** `{sid}` in a pattern is a number by that name. */
function pattern(text: string): RegExp {
  return new RegExp(`^${text.replace(/\{(\w+)\}/g, `(?<$1>${n})`)}\\s*$`);
}

/** What follows the name, by name. A part in `(?:…)?` is not there in every version. */
const patterns = {
  smmu_add_mr: pattern('\\S+'),
  smmu_reset_exit: pattern(''),
  smmuv3_read_mmio: pattern('addr: {addr} val:{value} size: {size}\\(\\d+\\)'),
  smmuv3_write_mmio: pattern('addr: {addr} val:{value} size: {size}\\(\\d+\\)'),
  smmuv3_trigger_irq: pattern('irq={irq}'),
  smmuv3_cmdq_consume: pattern('prod={prod} cons={cons} prod.wrap={prodWrap} cons.wrap={consWrap}'),
  smmuv3_cmdq_consume_out: pattern('prod:{prod}, cons:{cons}, prod_wrap:{prodWrap}, cons_wrap:{consWrap}'),
  smmuv3_cmdq_opcode: pattern('<--- (?<opcode>\\w+)'),
  smmuv3_cmdq_cfgi_ste: pattern('streamid= {sid}'),
  smmuv3_cmdq_cfgi_ste_range: pattern('start={start} - end={end}'),
  smmuv3_cmdq_cfgi_cd: pattern('sid={sid}'),
  smmuv3_cmdq_tlbi_nh: pattern('(?:vmid={vmid})?'),
  smmuv3_cmdq_tlbi_nsnh: pattern(''),
  smmuv3_cmdq_tlbi_nh_asid: pattern('asid={asid}'),
  smmuv3_s1_range_inval: pattern('vmid={vmid} asid={asid} addr={addr} tg={tg} num_pages={pages} ttl={ttl} leaf={leaf}'),
  smmuv3_range_inval: pattern(
    'vmid={vmid} asid={asid} addr={addr} tg={tg} num_pages={pages} ttl={ttl} leaf={leaf} stage={stage}',
  ),
  smmu_iotlb_inv_all: pattern('IOTLB invalidate all'),
  smmu_iotlb_inv_asid: pattern('IOTLB invalidate asid={asid}'),
  smmu_iotlb_inv_asid_vmid: pattern('IOTLB invalidate asid={asid} vmid={vmid}'),
  smmuv3_config_cache_inv: pattern('Config cache INV for sid={sid}'),
  smmu_config_cache_inv: pattern('Config cache INV for sid={sid}'),
  smmu_configs_inv_sid_range: pattern('Config cache INV SID range from {start} to {end}'),
  smmuv3_config_cache_hit: pattern('Config cache HIT for sid={sid} .*'),
  smmuv3_config_cache_miss: pattern('Config cache MISS for sid={sid} .*'),
  smmuv3_find_ste: pattern('sid={sid} features:{features}, sid_split:{split}'),
  smmuv3_find_ste_2lvl: pattern(
    'strtab_base:{base} l1ptr:{l1} l1_off:{l1Index}, l2ptr:{l2} l2_off:{l2Index} max_l2_ste:{last}',
  ),
  smmuv3_get_ste: pattern('STE addr: {addr}'),
  smmuv3_get_cd: pattern('CD addr: {addr}'),
  smmuv3_decode_cd: pattern('oas={oas}'),
  smmuv3_decode_cd_tt: pattern('TT\\[{half}\\]:tsz:{tsz} ttb:{ttb} granule_sz:{granule} had:{had}'),
  smmu_iotlb_lookup_hit: pattern('IOTLB cache HIT asid={asid} (?:vmid={vmid} )?addr={addr} .*'),
  smmu_iotlb_lookup_miss: pattern('IOTLB cache MISS asid={asid} (?:vmid={vmid} )?addr={addr} .*'),
  smmu_iotlb_insert: pattern('IOTLB \\+\\+ asid={asid} (?:vmid={vmid} )?addr={addr} tg={tg} level={level}'),
  smmu_get_pte: pattern('baseaddr={base} index={index}, pteaddr={at}, pte={pte}'),
  smmu_ptw_level: pattern(
    '(?:stage={stage} )?level={level} iova={iova} subpage_sz={span} baseaddr={base} offset={index} => pte={pte}',
  ),
  smmu_ptw_page_pte: pattern(
    'stage={stage} level={level} iova={iova} base@={base} pte@={at} pte={pte} page address = {pa}',
  ),
  smmu_ptw_invalid_pte: pattern('stage={stage} level={level} base@={base} pte@={at} offset={index} pte={pte}'),
  smmuv3_record_event: pattern('SMMU_EVT_(?<event>\\w+) sid={sid}'),
  smmuv3_propagate_event: pattern('SMMU_EVT_(?<event>\\w+) sid={sid}'),
  smmuv3_translate_success: pattern('\\S+ sid={sid} iova={iova} translated={pa} perm={perm}(?: stage={stage})?'),
  smmuv3_translate_abort: pattern('\\S+ sid={sid} abort on iova:{iova} is_write={write}'),
} as const;

export type EventName = keyof typeof patterns;

/**
 * The event of a line; for one of another name, that name; null for a blank line.
 * @throws InputError when a known event has other fields than it should
 */
export function parseLine(text: string, line: number, file: string): QemuEvent | string | null {
  // The log backend may put `pid@seconds:` in front.
  const body = text.replace(/^\d+@\d+\.\d+:/, '').trimStart();
  if (body === '') return null;
  const end = body.indexOf(' ');
  const name = end < 0 ? body : body.slice(0, end);
  if (!Object.hasOwn(patterns, name)) return name.slice(0, 80);
  const known = patterns[name as EventName];
  const match = known.exec(end < 0 ? '' : body.slice(end + 1));
  if (match === null) {
    throw new InputError({
      file,
      line,
      field: name,
      expected: 'the fields of that event',
      got: quoted(body.slice(end + 1)),
    });
  }
  return { line, name: name as EventName, text: body, fields: match.groups ?? {} };
}

/** A field below 2^53. */
export function num(event: QemuEvent, field: string): number {
  return Number(event.fields[field]);
}

/** A field that not every version has. */
export function optional(event: QemuEvent, field: string): number | null {
  const text = event.fields[field];
  return text === undefined ? null : Number(text);
}

/** A field of 64 bits. */
export function word(event: QemuEvent, field: string): Word64 {
  const digits = BigInt(event.fields[field]!).toString(16).padStart(16, '0').slice(-16);
  return { hi: Number.parseInt(digits.slice(0, 8), 16) | 0, lo: Number.parseInt(digits.slice(8), 16) | 0 };
}
