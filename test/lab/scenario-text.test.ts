/** The text form of scenarios and the share string: what goes out comes back, and what is wrong is said where it is. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { InputError } from '../../lab/input-error.ts';
import {
  decodeShare,
  encodeShare,
  isShare,
  parseScenario,
  parseScenarioLines,
  printScenario,
} from '../../lab/scenario/index.ts';
import { anyScenario } from './scenario-arbitrary.ts';

const header = 'postern scenario v1\nprofile android17\nmachine tiny\nhypervisor postern\n';

function problem(text: string): string {
  try {
    parseScenario(text, 'a.scenario');
  } catch (error) {
    expect(error).toBeInstanceOf(InputError);
    return (error as InputError).message;
  }
  throw new Error(`no complaint about ${text}`);
}

test('reading what was printed gives the same scenario', () => {
  fc.assert(
    fc.property(anyScenario, (scenario) => {
      expect(parseScenario(printScenario(scenario))).toEqual(scenario);
    }),
    { numRuns: 400 },
  );
});

test('a scenario is plain JSON', () => {
  fc.assert(
    fc.property(anyScenario, (scenario) => {
      expect(JSON.parse(JSON.stringify(scenario))).toEqual(scenario);
    }),
    { numRuns: 100 },
  );
});

test('a share string gives the scenario back, is safe in a URL, and is shorter than the text', () => {
  fc.assert(
    fc.property(anyScenario, (scenario) => {
      const share = encodeShare(scenario);
      expect(share).toMatch(/^postern:v1:[A-Za-z0-9_-]+$/);
      expect(isShare(share)).toBe(true);
      expect(decodeShare(share)).toEqual(scenario);
    }),
    { numRuns: 200 },
  );
  const text = `${header}@cpu0 topup iommu 4 -> 0\n@cpu0 alloc_domain domain=d1 type=s1 -> 0\n@cpu0 attach_dev domain=d1 endpoint=disk -> 0\n@cpu0 map_pages domain=d1 iova=0x1000 paddr=page:a pgsize=0x1000 pgcount=1 prot=read|write -> 0, 0x1000 bytes\n`;
  expect(encodeShare(parseScenario(text)).length).toBeLessThan(text.length / 2);
});

test('a long scenario makes a string as well', () => {
  const steps = Array.from(
    { length: 1500 },
    (_, i) => `disk read 0x${(i * 7919 * 4096).toString(16)} -> fault F_TRANSLATION`,
  );
  const scenario = parseScenario(`${header}title far away\n${steps.join('\n')}\n`);
  expect(decodeShare(encodeShare(scenario))).toEqual(scenario);
});

test('every single changed, missing or doubled character of a share string is noticed', () => {
  const share = encodeShare(parseScenario(`${header}title one\n@cpu0 topup iommu 4 -> 0\ndisk read 0x1234 -> abort\n`));
  for (let i = 'postern:v1:'.length; i < share.length; i++) {
    const other = share[i] === 'A' ? 'B' : 'A';
    expect(() => decodeShare(share.slice(0, i) + other + share.slice(i + 1)), `changed ${i}`).toThrow(InputError);
    expect(() => decodeShare(share.slice(0, i)), `cut at ${i}`).toThrow(InputError);
  }
  expect(() => decodeShare(`${share}A`.repeat(2))).toThrow(/letters, digits/);
  expect(() => decodeShare(share.replace('v1', 'v9'))).toThrow(/version v9/);
  expect(() => decodeShare('hello')).toThrow(/postern:v1:/);
});

test('a string shared by format v0 stays readable', () => {
  const share = 'postern:v0:GMW4QcNNm4IFMZO8Bw';
  const scenario = parseScenario(`${header}@cpu0 topup iommu 4 -> 0\n@cpu1 reserve_vm -> handle\n`);
  expect(decodeShare(share)).toEqual(scenario);
  expect(parseScenario(printScenario(scenario).replace('scenario v1', 'scenario v0'))).toEqual(scenario);
});

test('words, names, pages, 64-bit numbers and comments are understood', () => {
  const { scenario, lines } = parseScenarioLines(`${header}title a # b
# a comment

@cpu0 alloc_domain driver=0 iommu=0 domain=d1 type=s1 -> 0   # made
@cpu0 map_pages domain=d1 iova=0xffffffffffff0000 paddr=page:a[512]+2.0x10 pgsize=4096 pgcount=2 prot=read|cache -> 0, 0x1000 bytes request iommu 1
@cpu1 vm1 = reserve_vm -> handle
disk write 0x1000 0xbad cached -> fault F_TRANSLATION
expect violation isolation page # 3 -> 4
`);
  expect(scenario.title).toBe('a # b');
  expect(lines).toEqual([8, 9, 10, 11, 12]);
  const [alloc, map, reserve, dma, found] = scenario.steps;
  expect(alloc).toMatchObject({
    call: 'alloc_domain',
    args: { driver: 0, domain: { name: 'd1' }, type: 0 },
    expect: { errno: 0 },
  });
  expect(map).toMatchObject({
    args: { iova: { big: '0xffffffffffff0000' }, paddr: { page: 'a', run: 512, offset: 2, byte: 16 }, prot: 5 },
    expect: { errno: 0, value: 4096, request: { pool: 'iommu', pages: 1 } },
  });
  expect(reserve).toMatchObject({ cpu: 1, bind: 'vm1', expect: { handle: true } });
  expect(dma).toMatchObject({
    device: 'disk',
    access: 'write',
    value: 0xbad,
    cached: true,
    expect: { fault: 'F_TRANSLATION' },
  });
  expect(parseScenario(`${header}vm1 = @cpu1 reserve_vm -> handle`).steps).toEqual([reserve]);
  expect(found).toEqual({ kind: 'expect', property: 'isolation', text: 'page # 3 -> 4' });
});

test.each([
  ['', /^a.scenario: expected a first line "postern scenario v1"$/],
  [
    'postern scenario v7\n',
    /^a.scenario:1: expected "postern scenario v1" or an earlier version, got version 7, which a later Postern reads$/,
  ],
  ['postern scenario v1\nprofile android17\nhypervisor postern\n', /expected a "machine" line/],
  [
    'postern scenario v1\nprofile android99\n',
    /:2: profile: expected android17, android16, rfc-v2, rfc-v1, got "android99"/,
  ],
  ['postern scenario v1\nmachine tiny\nmachine tiny\n', /:3: expected one machine line/],
  [`${header}@cpu0 vcpu_put\nmachine tiny`, /:6: expected machine before the first step/],
  [`${header}@cpu0 frobnicate`, /:5: expected write, read, .*map_pages.*, got "frobnicate"/],
  [`${header}@cpu0 free_domain domian=1`, /:5: expected free_domain with arguments domain=, got "domian=1"/],
  [`${header}@cpu0 free_domain domain=1 domain=2`, /:5: domain: expected one value/],
  [`${header}@cpu0 free_domain domain=0x10000000000000000`, /:5: domain: expected a domain name such as d1/],
  [`${header}@cpu0 alloc_domain type=s3`, /:5: type: expected s1 or s2, .*got "s3"/],
  [`${header}@cpu0 map_pages prot=read|fly`, /:5: prot: expected read\|write\|cache/],
  [`${header}@cpu0 map_guest prot=cache`, /:5: prot: expected exec\|write\|read/],
  [`${header}@cpu0 free_domain domain=d1 -> 4 bytes`, /:5: ->: expected 0 or a negative errno.*got "4 bytes"/],
  [`${header}@cpu0 free_domain domain=d1 ->`, /:5: ->: expected a result/],
  [`${header}@cpu0 unmap_pages domain=d1 -> 0x1000`, /:5: ->: expected an errno, a number of bytes/],
  [`${header}@cpu0 vm1 = vcpu_put`, /:5: vm1: expected reserve_vm/],
  [`${header}@cpu0 g1 = guest_free_domain`, /:5: g1: expected reserve_vm or guest_alloc_domain, which/],
  [`${header}@cpu0 guest_map_pages gfn=1`, /:5: expected guest_map_pages with arguments domain=, iova=, ipa=, size=/],
  [`${header}@cpu0 guest_map_pages size=1 -> 0x1000`, /:5: ->: expected a status \(0, invalid\), a number of bytes/],
  [`${header}@cpu0 guest_hvc x1=1`, /:5: x0: expected a function id/],
  [`${header}@cpu0 read page:a width=3`, /:5: width: expected 1, 2, 4 or 8, got "3"/],
  [`${header}@cpu0 read page:a width=1 -> 0x100`, /:5: ->: expected a number of 8 bits/],
  [`${header}@cpu0:x vcpu_put`, /:5: expected a CPU such as @cpu0/],
  [`${header}@cpu0:3 read page:a`, /:5: expected a call after @cpu0:3, got "read"/],
  [`${header}@cpu0:end vcpu_put`, /:5: expected @cpu0:end alone, or @cpu0 and a call/],
  [`${header}@cpu0:3 -> 0`, /:5: ->: expected nothing: what is expected of a call stands where it begins/],
  [`${header}@cpu0 drain all`, /:5: store: expected a number, 0 for the oldest/],
  [`${header}smmu0 stops working`, /:5: expected SMMU stops answering, got "smmu0 stops working"/],
  [`${header}smmu0 answers again -> 0`, /:5: ->: expected nothing: this step has no result, got "0"/],
  [`${header}@cpu0 topup disk 4`, /:5: pool: expected heap or iommu/],
  [`${header}@cpu0 topup iommu`, /:5: expected a number of pages or order=N/],
  [`${header}@cpu0 write page:a`, /:5: expected a value, got the end/],
  [`${header}@cpu0 read page:a.4096`, /:5: address: expected page:name/],
  [`${header}@cpu0 read page:a[3]`, /:5: address: expected page:name/],
  [`${header}@cpux read page:a`, /:5: expected a CPU such as @cpu0/],
  [`${header}disk fly 0x1000`, /:5: expected @cpuN and a step of the host.*got "disk fly"/],
  [`${header}disk read 0x1000 -> ok`, /:5: ->: expected page:name, an address, fault NAME or abort/],
  [`${header}disk read 0x1000 0x2000`, /:5: expected the end of the step, got "0x2000"/],
  [`${header}expect nothing`, /:5: expected a step before|:5: expected expect violation PROPERTY/],
  [`${header}expect violation isolation`, /:5: expected a step before/],
])('%j is refused with its place and what was expected', (text, message) => {
  expect(problem(text)).toMatch(message);
});

test('a title that would not come back is refused when it is printed', () => {
  const scenario = parseScenario(header);
  for (const title of ['', ' a', 'a\nb', 'a\u2028b', '\ud800']) {
    expect(() => printScenario({ ...scenario, title })).toThrow(RangeError);
  }
});
