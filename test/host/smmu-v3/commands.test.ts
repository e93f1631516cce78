import { expect, test } from 'vitest';
import { smmuV3 } from '#host';
import { structures } from '#machine/host-view';
import { hexWords, hi, lo, num, vectors } from './rig.ts';

interface Vector {
  readonly profile: string;
  readonly builder: string;
  // biome-ignore lint/suspicious/noExplicitAny: arguments differ by builder.
  readonly args: any;
  readonly ret?: number;
  readonly words: string[];
}

const commands: Vector[] = vectors('commands').commands;
const of = (profile: string) => commands.filter((vector) => vector.profile === profile);

/** Opcode of a command by the driver's name for it. */
function opcodeOf(name: string): number {
  const other: Record<string, structures.CommandName> = {
    CFGI_ALL: 'CFGI_STE_RANGE',
    CMD_SYNC: 'SYNC',
    PREFETCH_CFG: 'PREFETCH_CONFIG',
  };
  const structure = structures.COMMAND_STRUCTURES[other[name] ?? (name as structures.CommandName)];
  if (structure === undefined) throw new Error(`no command ${name}`);
  return structure.opcode;
}

const builders: Record<string, (into: Int32Array, args: Vector['args'], at?: number) => void> = {
  op: (into, { op }, at) => smmuV3.buildOpcode(into, opcodeOf(op), at),
  cfgi_ste: (into, { sid, leaf }, at) => smmuV3.buildCfgiSte(into, num(sid), leaf === 1, at),
  cfgi_all: (into, _, at) => smmuV3.buildCfgiAll(into, at),
  cfgi_cd: (into, { sid, ssid, leaf }, at) => smmuV3.buildCfgiCd(into, num(sid), num(ssid), leaf === 1, at),
  prefetch_cfg: (into, { sid }, at) => smmuV3.buildPrefetchConfig(into, num(sid), at),
  atc_inv: (into, { sid, ssid, addr, size }, at) => smmuV3.buildAtcInv(into, num(sid), num(ssid), num(addr), size, at),
  pri_resp: (into, { sid, ssid, ssv, grpid, resp }, at) =>
    smmuV3.buildPriResp(into, num(sid), num(ssid), ssv === 1, num(grpid), resp, at),
  resume: (into, { sid, stag, resp }, at) => smmuV3.buildResume(into, num(sid), num(stag), resp, at),
  sync: (into, { cs, msiaddr }, at) => smmuV3.buildSync(into, cs, hi(msiaddr), lo(msiaddr), at),
  tlbi: (into, { op, asid, vmid }, at) => smmuV3.buildTlbi(into, opcodeOf(op), num(asid), num(vmid), at),
  atc_inv_range: (into, { sid, ssid, iova, size }) =>
    smmuV3.buildAtcInvRange(into, num(sid), num(ssid), num(iova), num(size)),
};

test('each of 222 commands of the newer driver is built bit for bit', () => {
  const list = of('linux-7.2');
  expect(list).toHaveLength(222);
  expect(new Set(list.map(({ builder }) => builder))).toEqual(new Set(Object.keys(builders)));
  for (const { builder, args, words } of list) {
    const into = new Int32Array(4).fill(-1);
    builders[builder]!(into, args);
    expect(hexWords(into), `${builder} ${JSON.stringify(args)}`).toEqual(words);
  }
});

test('a command is built anywhere in a batch without touching its neighbours', () => {
  for (const { builder, args, words } of of('linux-7.2').filter((vector) => vector.builder !== 'atc_inv_range')) {
    const batch = new Int32Array(12).fill(-1);
    builders[builder]!(batch, args, 4);
    expect(hexWords(batch.subarray(4, 8)), `${builder} ${JSON.stringify(args)}`).toEqual(words);
    expect([...batch.subarray(0, 4), ...batch.subarray(8)]).toEqual(Array(8).fill(-1));
  }
});

test('each of 97 commands of the older driver’s generic builder is built bit for bit, with its errno', () => {
  const list = of('linux-6.12');
  expect(list).toHaveLength(97);
  for (const { args, ret, words } of list) {
    const into = new Int32Array(4).fill(-1);
    const result = smmuV3.buildGenericCommand(into, {
      opcode: opcodeOf(args.op),
      sid: num(args.sid),
      ssid: num(args.ssid),
      ssv: args.ssv === '1',
      leaf: args.leaf === '1',
      num: num(args.num),
      scale: num(args.scale),
      asid: num(args.asid),
      vmid: num(args.vmid),
      ttl: num(args.ttl),
      tg: num(args.tg),
      addressHi: hi(args.addr),
      addressLo: lo(args.addr),
      size: num(args.size),
      global: args.global === '1',
      group: num(args.grpid),
      answer: num(args.resp),
      stag: num(args.stag),
      msiHi: hi(args.msiaddr),
      msiLo: lo(args.msiaddr),
    });
    expect([result, ...hexWords(into)], JSON.stringify(args)).toEqual([ret, ...words]);
  }
});
