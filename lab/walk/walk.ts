/**
 * Explains one access of a device: every structure the SMMU fetches for it, and the outcome with the check that
 * decided. Written from the architecture's order of checks for a transaction; it shares no code with the model.
 *
 * The access is a data access without SSID, unprivileged unless the STE says otherwise, at an address below 2^53.
 */
import { CD_FIELDS, cdFlag } from '../oracle/decode/cd.ts';
import { Access } from '../oracle/decode/descriptor.ts';
import { L1CD_FIELDS, l1cdL2Ptr, l1cdValid } from '../oracle/decode/l1std.ts';
import { cdIllegal, steIllegal } from '../oracle/decode/legal.ts';
import {
  STE_FIELDS,
  SteConfig,
  steConfig,
  stePrivCfg,
  steS1CdMax,
  steS1ContextPtr,
  steS1Dss,
  steS1Fmt,
  steS2Flag,
} from '../oracle/decode/ste.ts';
import { type Fetched, fault, fetchWords, step, WalkEnd } from './fetch.ts';
import type { Faulted, Outcome, Walk, WalkStep } from './result.ts';
import type { WalkSource } from './source.ts';
import { fetchSte, streamTable } from './stream.ts';
import { checkPermission, type Leaf, type StageTables, stage1Tables, stage2Tables, walkTables } from './tables.ts';

/** Translates `iova` for a read, or a write, by stream `sid`. A fault is an outcome, not an exception. */
export function walkAccess(source: WalkSource, sid: number, iova: number, write = false): Walk {
  const steps: WalkStep[] = [];
  const context: Context = { source, sid, iova, write, steps, ste: null, cd: null };
  let outcome: Outcome;
  try {
    outcome = translate(context);
  } catch (end) {
    if (!(end instanceof WalkEnd)) throw end;
    outcome = { ...end.fault, recorded: isRecorded(end.fault, context) };
  }
  const { base, log2, twoLevel, split } = streamTable(source);
  const registers = { enabled: (source.cr0 & 1) !== 0, table: base, log2, twoLevel, split };
  return { registers, sid, iova, write, steps, outcome };
}

interface Context {
  readonly source: WalkSource;
  readonly sid: number;
  readonly iova: number;
  readonly write: boolean;
  readonly steps: WalkStep[];
  ste: Int32Array | null;
  cd: Int32Array | null;
}

function translate(context: Context): Outcome {
  const { source, sid, iova, steps } = context;
  const smmu = source.capabilities;
  if ((source.cr0 & 1) === 0) {
    if ((source.gbpa & 0x100000) !== 0) return { kind: 'aborted', reason: 'SMMUEN is 0 and GBPA.ABORT is 1' };
    if (iova >= 2 ** smmu.oasBits) return { kind: 'aborted', reason: 'SMMUEN is 0 and the address is beyond OAS' };
    return { kind: 'bypassed', pa: iova, reason: 'SMMUEN is 0' };
  }
  const { ste, address } = fetchSte(source, sid, steps);
  context.ste = ste;
  const config = steConfig(ste[0]!);
  const illegal = steIllegal(ste, 0, smmu);
  const note = illegal === null ? CONFIG_NOTES[config]! : `illegal: ${illegal}`;
  steps.push(step('ste', 'STE', address, ste, STE_FIELDS, note));
  if (illegal !== null) fault('C_BAD_STE', `the STE is illegal: ${illegal}`);
  if (config < SteConfig.bypass) return { kind: 'aborted', reason: 'STE.Config aborts' };
  if (config === SteConfig.bypass) {
    if (iova >= 2 ** smmu.oasBits) fault('F_ADDR_SIZE', 'the address is beyond OAS', { stage: 1, class: 'IN' });
    return { kind: 'bypassed', pa: iova, reason: 'STE.Config bypasses' };
  }
  const second = (config & 2) !== 0 ? stage2Tables(ste, smmu) : null;
  if ((config & 1) === 0) return onlyStage2(context, second!);
  const manyCds = smmu.ssidBits !== 0 && steS1CdMax(ste[1]!) !== 0;
  const dss = steS1Dss(ste[2]!);
  if (manyCds && dss === 1) {
    if (second !== null) return onlyStage2(context, second);
    if (iova >= 2 ** smmu.iasBits) fault('F_ADDR_SIZE', 'the address is beyond IAS', { stage: 1, class: 'IN' });
    return { kind: 'bypassed', pa: iova, reason: 'STE.S1DSS bypasses stage 1' };
  }
  if (manyCds && dss !== 2) fault('F_STREAM_DISABLED', 'STE.S1DSS terminates accesses without SSID');
  return throughStage1(context, fetchCd(context, second, manyCds), second);
}

function onlyStage2(context: Context, tables: StageTables): Outcome {
  const { source, iova } = context;
  const { iasBits } = source.capabilities;
  if (iova >= 2 ** iasBits)
    fault('F_ADDR_SIZE', `the address is beyond IAS, ${iasBits} bits`, { stage: 1, class: 'IN' });
  const leaf = stage2(context, tables, iova, 'IN', context.write, null);
  return translated(leaf.output, leaf, null);
}

function throughStage1(context: Context, cd: Int32Array, second: StageTables | null): Outcome {
  const { source, iova, write, steps } = context;
  const tables = stage1Tables(cd, source.capabilities);
  const flag = (bit: number): boolean => cdFlag(cd[1]!, cd[0]!, bit);
  const input = flag(38) ? iova % 2 ** 56 : iova;
  if (flag(14)) fault('F_TRANSLATION', 'CD.EPD0 disables walks of TTB0', { stage: 1, class: 'IN' });
  const read = (address: number, title: string): Fetched => readThrough(context, second, address, 'TTD', title);
  const leaf = walkTables(tables, input, 'IN', read, steps);
  checkPermission(tables, leaf, write, isPrivileged(context), 'IN', input);
  if (second === null) return translated(leaf.output, leaf, null);
  const last = stage2(context, second, leaf.output, 'IN', write, 'access');
  return translated(last.output, leaf, last);
}

function fetchCd(context: Context, second: StageTables | null, manyCds: boolean): Int32Array {
  const { source, steps } = context;
  const ste = context.ste!;
  let address = steS1ContextPtr(ste[1]!, ste[0]!);
  const format = steS1Fmt(ste[0]!);
  if (manyCds && (format === 1 || format === 2)) {
    const { words, pa } = readThrough(context, second, address, 'CD', 'L1CD');
    const note = words === null ? 'the fetch aborts' : 'entry 0';
    steps.push(step('l1cd', 'L1CD', address, words, L1CD_FIELDS, note, { pa }));
    if (words === null) fault('F_CD_FETCH', 'the fetch of the level-1 context descriptor aborts');
    if (!l1cdValid(words[0]!)) fault('C_BAD_SUBSTREAMID', 'the level-1 context descriptor is invalid');
    address = l1cdL2Ptr(words[1]!, words[0]!);
  }
  const { words: cd, pa } = readThrough(context, second, address, 'CD', 'CD', 8);
  if (cd === null) {
    steps.push(step('cd', 'CD', address, null, CD_FIELDS, 'the fetch aborts', { pa }));
    fault('F_CD_FETCH', 'the fetch of the CD aborts');
  }
  const illegal = cdIllegal(cd, 0, ste, 0, source.capabilities);
  steps.push(step('cd', 'CD', address, cd, CD_FIELDS, illegal === null ? 'legal' : `illegal: ${illegal}`, { pa }));
  if (illegal !== null) fault('C_BAD_CD', `the CD is illegal: ${illegal}`);
  context.cd = cd;
  return cd;
}

/** Words at an address that stage 1 uses: an IPA when nested, which stage 2 then translates. */
function readThrough(
  context: Context,
  second: StageTables | null,
  address: number,
  kind: 'CD' | 'TTD',
  title: string,
  count = 1,
): Fetched {
  if (second === null) return { words: fetchWords(context.source.memory, address, count), pa: null };
  const leaf = stage2(context, second, address, kind, false, title);
  if (leaf.device && steS2Flag(context.ste![5]!, 54)) {
    const where = { stage: 2, class: kind, level: leaf.level, ipa: address } as const;
    fault('F_PERMISSION', 'S2PTW: the walk lands on Device memory', where);
  }
  return { words: fetchWords(context.source.memory, leaf.output, count), pa: leaf.output };
}

/** @param of what lies at the IPA, for a nested stream; null without a stage 1 */
function stage2(
  context: Context,
  tables: StageTables,
  ipa: number,
  kind: Faulted['class'],
  write: boolean,
  of: string | null,
): Leaf {
  const read = (address: number): Fetched => ({ words: fetchWords(context.source.memory, address, 1), pa: null });
  const leaf = walkTables(tables, ipa, kind, read, context.steps, of === null ? null : { of, ipa });
  checkPermission(tables, leaf, write, kind === 'IN' && isPrivileged(context), kind, ipa);
  return leaf;
}

/** The outcome of a walk that ended on `leaf`, and for a nested one on the stage-2 leaf `last` beneath. */
function translated(pa: number, leaf: Leaf, last: Leaf | null): Outcome {
  const access = last === null ? leaf.access : leaf.access & last.access;
  return {
    kind: 'translated',
    pa,
    size: last === null ? leaf.size : Math.min(leaf.size, last.size),
    permissions: {
      read: (access & Access.read) !== 0,
      write: (access & Access.write) !== 0,
      execute: (access & Access.execute) !== 0,
    },
    memoryType: last === null ? leaf.memoryType : `${leaf.memoryType}, then ${last.memoryType}`,
    leaf: { address: leaf.address, value: { hi: leaf.hi, lo: leaf.lo } },
  };
}

function isPrivileged({ ste }: Context): boolean {
  return stePrivCfg(ste![3]!) === 3;
}

function isRecorded({ event, stage }: Omit<Faulted, 'recorded'>, { source, ste, cd }: Context): boolean {
  if (event === 'C_BAD_STREAMID') return (source.cr2 & 2) !== 0;
  const translation =
    event === 'F_TRANSLATION' || event === 'F_ADDR_SIZE' || event === 'F_ACCESS' || event === 'F_PERMISSION';
  if (!translation) return true;
  if (stage === 2) return steS2Flag(ste![5]!, 58);
  return cd === null || cdFlag(cd[1]!, cd[0]!, 45);
}

const CONFIG_NOTES = [
  'aborts',
  'aborts',
  'aborts',
  'aborts',
  'bypasses',
  'stage 1 translates',
  'stage 2 translates',
  'stage 1 and stage 2 translate',
];
