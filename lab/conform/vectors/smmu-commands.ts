/** `smmuv3-commands`: the commands of the newer driver's builders, and of the older driver's generic one. */
import { smmuV3 } from '#host';
import type { Tally } from '../tally.ts';
import { count, hex, list, oneOf, record, type Shape, tagged, whole } from './shape.ts';
import { COMMAND, opcodeOf } from './smmu-names.ts';
import { address, hexWords, hi, lo } from './words.ts';

/** Arguments are hexadecimal numbers, or JSON numbers where they count. */
type Args = Readonly<Record<string, string> & Record<'leaf' | 'ssv' | 'size' | 'resp' | 'cs', number>>;

export interface CommandVector {
  readonly profile: string;
  readonly builder: string;
  readonly args: Readonly<Record<string, unknown>>;
  readonly ret?: number;
  readonly words: readonly string[];
}

const words = list(hex, 2);
const builder = (fields: Readonly<Record<string, Shape>>): Shape => record({ args: record(fields), words });
const sid = { sid: hex };
const ssid = { ssid: hex };

const GENERIC = [
  'sid',
  'ssid',
  'ssv',
  'leaf',
  'num',
  'scale',
  'asid',
  'vmid',
  'ttl',
  'tg',
  'addr',
  'size',
  'global',
  'grpid',
  'resp',
  'stag',
  'msiaddr',
] as const;

export const COMMANDS: Shape = record({
  commands: list(
    tagged('profile', {
      'linux-7.2': tagged('builder', {
        op: builder({ op: COMMAND }),
        cfgi_ste: builder({ ...sid, leaf: count }),
        cfgi_all: builder({}),
        cfgi_cd: builder({ ...sid, ...ssid, leaf: count }),
        prefetch_cfg: builder(sid),
        atc_inv: builder({ ...sid, ...ssid, addr: hex, size: count }),
        pri_resp: builder({ ...sid, ...ssid, ssv: count, grpid: hex, resp: oneOf(0, 1, 2) }),
        resume: builder({ ...sid, stag: hex, resp: oneOf(0, 1, 2) }),
        sync: builder({ cs: oneOf(0, 1, 2), msiaddr: hex }),
        tlbi: builder({ op: COMMAND, asid: hex, vmid: hex }),
        atc_inv_range: builder({ ...sid, ...ssid, iova: hex, size: hex }),
      }),
      'linux-6.12': record({
        args: record({ op: COMMAND, ...Object.fromEntries(GENERIC.map((name) => [name, hex])) }),
        ret: whole,
        words,
      }),
    }),
  ),
});

const builders: Readonly<Record<string, (into: Int32Array, args: Args) => void>> = {
  op: (into, { op }) => smmuV3.buildOpcode(into, opcodeOf(op!)),
  cfgi_ste: (into, { sid, leaf }) => smmuV3.buildCfgiSte(into, address(sid!), leaf === 1),
  cfgi_all: (into) => smmuV3.buildCfgiAll(into),
  cfgi_cd: (into, { sid, ssid, leaf }) => smmuV3.buildCfgiCd(into, address(sid!), address(ssid!), leaf === 1),
  prefetch_cfg: (into, { sid }) => smmuV3.buildPrefetchConfig(into, address(sid!)),
  atc_inv: (into, { sid, ssid, addr, size }) =>
    smmuV3.buildAtcInv(into, address(sid!), address(ssid!), address(addr!), size),
  pri_resp: (into, { sid, ssid, ssv, grpid, resp }) =>
    smmuV3.buildPriResp(into, address(sid!), address(ssid!), ssv === 1, address(grpid!), resp as 0 | 1 | 2),
  resume: (into, { sid, stag, resp }) =>
    smmuV3.buildResume(into, address(sid!), address(stag!), resp as Parameters<typeof smmuV3.buildResume>[3]),
  sync: (into, { cs, msiaddr }) => smmuV3.buildSync(into, cs as 0 | 1 | 2, hi(msiaddr!), lo(msiaddr!)),
  tlbi: (into, { op, asid, vmid }) => smmuV3.buildTlbi(into, opcodeOf(op!), address(asid!), address(vmid!)),
  atc_inv_range: (into, { sid, ssid, iova, size }) =>
    smmuV3.buildAtcInvRange(into, address(sid!), address(ssid!), address(iova!), address(size as unknown as string)),
};

/** Compares one command. */
export function checkCommand(vector: CommandVector, i: number, tally: Tally): void {
  const { profile, args, ret } = vector;
  const into = new Int32Array(4).fill(-1);
  tally.begin(`commands of ${profile}`, () => `commands[${i}], ${vector.builder} ${JSON.stringify(args)}`);
  if (profile === 'linux-6.12') tally.same('result', ret, generic(into, args as Readonly<Record<string, string>>));
  else builders[vector.builder]!(into, args as Args);
  tally.same('words', vector.words, hexWords(into));
  tally.end();
}

function generic(into: Int32Array, args: Readonly<Record<string, string>>): number {
  const value = (name: (typeof GENERIC)[number]): number => address(args[name]!);
  return smmuV3.buildGenericCommand(into, {
    opcode: opcodeOf(args.op!),
    sid: value('sid'),
    ssid: value('ssid'),
    ssv: value('ssv') === 1,
    leaf: value('leaf') === 1,
    num: value('num'),
    scale: value('scale'),
    asid: value('asid'),
    vmid: value('vmid'),
    ttl: value('ttl'),
    tg: value('tg'),
    addressHi: hi(args.addr!),
    addressLo: lo(args.addr!),
    size: value('size'),
    global: value('global') === 1,
    group: value('grpid'),
    answer: value('resp'),
    stag: value('stag'),
    msiHi: hi(args.msiaddr!),
    msiLo: lo(args.msiaddr!),
  });
}
