import { expect, test } from 'vitest';
import { decodeCommand, isTlbInvalidation, rangePages } from '#lab/oracle/decode/command';
import { commandQueue, int32s, runs, vectors } from './rig.ts';

const { commands } = vectors('smmuv3-commands');

/** Names of the vectors' arguments for our fields, and the width of the field in bits. */
const argumentNames: Record<string, [string, number]> = {
  SID: ['sid', 32],
  SSID: ['ssid', 20],
  Leaf: ['leaf', 1],
  NUM: ['num', 5],
  SCALE: ['scale', 5],
  ASID: ['asid', 16],
  VMID: ['vmid', 16],
  TTL: ['ttl', 2],
  TG: ['tg', 2],
  Size: ['size', 6],
  Global: ['global', 1],
  PRGIndex: ['grpid', 9],
  Resp: ['resp', 2],
  STAG: ['stag', 16],
};

/** Fields that this builder leaves at zero whatever it is given. */
const untouched: Record<string, string[]> = { CFGI_ALL: ['SID'], PREFETCH_CFG: ['SSID'] };

const renamed: Record<string, string> = { PREFETCH_CFG: 'PREFETCH_CONFIG', CMD_SYNC: 'SYNC', CFGI_ALL: 'CFGI_ALL' };

test('every command of the 6.12 builder decodes to its arguments', () => {
  const built = commands.filter(
    ({ profile, ret }: { profile: string; ret: number }) => profile === 'linux-6.12' && ret === 0,
  );
  expect(built.length).toBeGreaterThan(50);
  for (const { args, words } of built) {
    const found = decodeCommand(int32s(words));
    expect(found.name).toBe(renamed[args.op] ?? args.op);
    for (const { name, value } of found.fields) {
      const [argument, width] = argumentNames[name] ?? [];
      if (argument === undefined || args[argument] === undefined || width === undefined) continue;
      if (untouched[args.op]?.includes(name)) continue;
      expect([args.op, name, value]).toEqual([
        args.op,
        name,
        Number(BigInt.asUintN(width, BigInt(`0x${args[argument]}`))),
      ]);
    }
    const address = found.fields.find(({ name }) => name === 'Address');
    if (address === undefined) continue;
    const given = BigInt(`0x${args.addr}`) & (args.op === 'TLBI_S2_IPA' ? 0xffffffffff000n : 0xfffffffffffff000n);
    expect(address.value).toBe(Number(given));
  }
});

test('every command of the 7.2 builders decodes to the opcode and the stream it was built for', () => {
  for (const { profile, builder, args, words } of commands) {
    if (profile !== 'linux-7.2') continue;
    const found = decodeCommand(int32s(words));
    const field = (name: string): number => found.fields.find((each) => each.name === name)?.value ?? -1;
    expect(found.known).toBe(true);
    if (args.sid !== undefined) expect(field('SID')).toBe(Number.parseInt(args.sid, 16));
    if (args.op !== undefined && builder === 'tlbi') expect(found.name).toBe(args.op);
    if (builder === 'cfgi_all') expect(found.name).toBe('CFGI_ALL');
    if (builder === 'cfgi_cd') {
      expect([field('SSID'), field('Leaf')]).toEqual([Number.parseInt(args.ssid, 16), args.leaf]);
    }
  }
});

test('an unknown opcode is named by its number, not guessed', () => {
  expect(decodeCommand(Int32Array.of(0x7f, 0, 0, 0))).toMatchObject({ known: false, name: 'opcode 0x7f', fields: [] });
});

test.each(runs)('the whole command queue of %s decodes', (run) => {
  const words = commandQueue(run);
  const unknown: number[] = [];
  for (let at = 0; at < words.length; at += 4) if (!decodeCommand(words, at).known) unknown.push(at);
  expect(unknown).toEqual([]);
  expect(words.length).toBeGreaterThan(0);
});

test('a strict kernel sends one SYNC for each unmap, and its range commands cover what was unmapped', () => {
  const words = commandQueue('strict-all');
  const names = new Map<string, number>();
  let pages = 0;
  for (let at = 0; at < words.length; at += 4) {
    const { name, opcode } = decodeCommand(words, at);
    names.set(name, (names.get(name) ?? 0) + 1);
    if (isTlbInvalidation(opcode) && name === 'TLBI_NH_VA') pages += rangePages(words[at]!);
  }
  expect(names.get('TLBI_NH_VA')).toBe(2049);
  expect(names.get('SYNC')! - 2049).toBeLessThan(60);
  // 13,148,160 bytes were unmapped in all; 3,210 pages of 4K.
  expect(pages).toBe(3210);
});
