import { expect, test } from 'vitest';
import { pciStreamId } from '#lab/trace/event';
import { parseTrace, TraceParser } from '#lab/trace/parse';
import { rigTrace, traceText } from './rig.ts';

/** Counts of map and unmap events, of probe events, and lines in all. */
test.each([
  ['strict-vblk', 4782, 4780, 4782, 4780],
  ['strict-all', 2573, 2049, 2572, 2049],
  ['lazy-all', 2574, 2035, 2573, 2035],
  ['passthrough-all', 0, 0, 0, 0],
  ['strict-qtrace', 1488, 963, 1487, 963],
  ['strict-unbind', 1141, 1132, 1140, 1132],
  ['lazy-large-smp2', 66469, 66173, 0, 0],
  ['s2-strict', 3161, 2560, 3160, 2560],
  ['k612-nested-strict', 3185, 2469, 3184, 2469],
  ['k72-s2-strict', 2850, 2433, 2849, 2433],
])('every line of %s is an event, a comment or counted by name', (run, maps, unmaps, pageMaps, pageUnmaps) => {
  const { kinds, unknown, errors, events, lines, header, comments } = rigTrace(run);
  expect(errors).toEqual([]);
  const count = (kind: string): number => kinds.get(kind) ?? 0;
  expect([count('map'), count('unmap'), count('pg_map'), count('pg_unmap')]).toEqual([
    maps,
    unmaps,
    pageMaps,
    pageUnmaps,
  ]);
  expect([...unknown.keys()]).toEqual(['tracing_mark_write']);
  const others = [...unknown.values()].reduce((sum, n) => sum + n, 0);
  expect(events.length + others + comments).toBe(lines);
  expect(header[0]).toBe('# tracer: nop');
});

const raw = [
  '# tracer: nop',
  '     kworker/0:1H-36      [001] d.h..     4.434900: unmap: IOMMU: iova=0x00000000ffff8000 - 0x00000000ffffa000 size=8192 unmapped_size=4096',
  '        modprobe-104     [000] .....     4.426630: map: IOMMU: iova=0x00000000ffffc000 - 0x00000000ffffd000 paddr=0x000000004c1b4000 size=4096',
  '        modprobe-104     [000] d....     4.426561: pg_map: (arm_lpae_map_pages+0x0/0x170) ops=0xffff5cb58c1bab68 iova=0xffffc000 pa=0x4c1b4000 pgsize=0x1000 pgcount=3 prot=0x7 pgd=0xffff5cb58c2d7000',
  '          <idle>-0       [000] d.h..     4.434646: pg_unmap: (arm_lpae_unmap_pages+0x0/0x90) ops=0xffff5cb58c1bab68 iova=0xffff8000 pgsize=0x1000 pgcount=1',
  '        modprobe-104     [000] d....     7.047699: attach: (arm_smmu_attach_dev+0x0/0x49c) dom=0xffff66ed4c1b2098 name="0000:00:02.0"',
  '        modprobe-104     [000] d....     7.048452: cmdlist: (arm_smmu_cmdq_issue_cmdlist+0x0/0x72c) n=1 sync=1 c0=0x1000000003 c1=0x1 d0=0x3064a09afa22b000 d1=0xffff8000085b34e0',
  '        modprobe-104     [000] .....     7.046831: add_device_to_group: IOMMU: groupID=1 device=0000:00:02.0',
  '        modprobe-104     [000] .....     7.048491: attach_device_to_domain: IOMMU: device=0000:00:02.0',
];

test('the fields of each kind of event', () => {
  const { events } = parseTrace(raw.join('\n'), 'x');
  const at = (line: number, task: string, pid: number, cpu: number, time: number) => ({ line, task, pid, cpu, time });
  const ops = '0xffff5cb58c1bab68';
  expect(events).toEqual([
    { kind: 'unmap', ...at(2, 'kworker/0:1H', 36, 1, 4.4349), iova: 0xffff8000, size: 8192, unmapped: 4096 },
    { kind: 'map', ...at(3, 'modprobe', 104, 0, 4.42663), iova: 0xffffc000, pa: 0x4c1b4000, size: 4096 },
    {
      kind: 'pg_map',
      ...at(4, 'modprobe', 104, 0, 4.426561),
      ops,
      pgd: '0xffff5cb58c2d7000',
      iova: 0xffffc000,
      pa: 0x4c1b4000,
      pageSize: 4096,
      count: 3,
      prot: 7,
    },
    { kind: 'pg_unmap', ...at(5, '<idle>', 0, 0, 4.434646), ops, iova: 0xffff8000, pageSize: 4096, count: 1 },
    { kind: 'attach', ...at(6, 'modprobe', 104, 0, 7.047699), domain: '0xffff66ed4c1b2098', device: '0000:00:02.0' },
    {
      kind: 'cmdlist',
      ...at(7, 'modprobe', 104, 0, 7.048452),
      count: 1,
      sync: true,
      shifted: false,
      first: [3, 0x10, 1, 0],
      second: [0xfa22b000 | 0, 0x3064a09a, 0x085b34e0, 0xffff8000 | 0],
    },
    { kind: 'add_device_to_group', ...at(8, 'modprobe', 104, 0, 7.046831), group: 1, device: '0000:00:02.0' },
    { kind: 'attach_device_to_domain', ...at(9, 'modprobe', 104, 0, 7.048491), device: '0000:00:02.0' },
  ]);
});

test('kernels from 6.12 on, where the probe reads one argument too early: the count is where the flag was meant to be', () => {
  const line =
    '  <idle>-0  [000] d.h.. 18.058743: cmdlist: (arm_smmu_cmdq_issue_cmdlist+0x0/0x778) n=2147498024 sync=2 c0=0x2400000025 c1=0x0 d0=0x0 d1=0x0';
  expect(parseTrace(line, 'x').events).toMatchObject([{ count: 2, sync: null, shifted: true }]);
});

/** The same events as other tools print them. */
const head = /^\s*(.+)-(\d+)\s+\[(\d+)\] (\S+)\s+([\d.]+): (\w+): (.*)$/;
const layouts: [string, (line: string) => string][] = [
  [
    'trace-cmd report',
    (line) =>
      line.replace(head, (_, task, pid, cpu, _flags, time, name, rest) => {
        return `${task.padStart(16)}-${pid.padEnd(5)} [${cpu}] ${time.padStart(6)}: ${`${name}: `.padEnd(22)}${rest}`;
      }),
  ],
  [
    'trace-cmd report with flags',
    (line) =>
      line.replace(head, (_, task, pid, cpu, flags, time, name, rest) => {
        return `${task.padStart(16)}-${pid.padEnd(5)} [${cpu}] ${flags} ${time.padStart(6)}: ${`${name}: `.padEnd(22)}${rest}`;
      }),
  ],
  [
    'perf script',
    (line) =>
      line.replace(head, (_, task, pid, cpu, _flags, time, name, rest) => {
        const system = /^(?:pg_|attach$|cmdlist)/.test(name) ? 'rig' : 'iommu';
        return `${task.padStart(16)} ${pid.padStart(5)} [${cpu}] ${time.padStart(12)}: ${`${system}:${name}:`.padStart(30)} ${rest}`;
      }),
  ],
  [
    'perf script with process and thread',
    (line) =>
      line.replace(head, (_, task, pid, cpu, _flags, time, name, rest) => {
        const system = /^(?:pg_|attach$|cmdlist)/.test(name) ? 'kprobes' : 'iommu';
        return `${task} 4242/${pid} [${cpu}] ${time}: ${system}:${name}: ${rest}`;
      }),
  ],
  ['the kernel with record-tgid', (line) => line.replace(/-(\d+)(\s+)\[/, '-$1$2(   77) [')],
  ['the kernel without irq-info', (line) => line.replace(/(\[\d+\]) \S+/, '$1')],
  ['the kernel of before the end address', (line) => line.replace(/ - 0x[0-9a-f]+/, '')],
  ['a file with carriage returns', (line) => `${line}\r`],
];

test.each(layouts)('%s: the same events', (_, rewrite) => {
  const lines = traceText('strict-unbind')
    .split('\n')
    .filter((line) => line !== '' && !line.includes('tracing_mark_write'));
  const expected = parseTrace(lines.join('\n'), 'x');
  const found = parseTrace(lines.map((line) => (line.startsWith('#') ? line : rewrite(line))).join('\n'), 'x');
  expect(found.errors).toEqual([]);
  expect(found.unknown.size).toBe(0);
  expect(found.events).toEqual(expected.events);
});

test('an event of another subsystem is not an IOMMU event, whatever its name', () => {
  const { events, unknown } = parseTrace('a 1 [000] 1.0: other:map: iova=0x0 paddr=0x0 size=1', 'x');
  expect(events).toEqual([]);
  expect([...unknown]).toEqual([['other:map', 1]]);
});

const map = 'a-1 [000] ..... 1.0: map: IOMMU: iova=0x1000 - 0x2000 paddr=0x40000000 size=4096';
const pgMap = 'a-1 [000] ..... 1.0: pg_map: (f+0x0) ops=0x1 iova=0x0 pa=0x0 pgsize=0x1000 pgcount=1 prot=0x7 pgd=0x2';

test.each([
  ['no event at all', 'hello', undefined, /expected an event: TASK-PID \[CPU\] TIME: NAME/],
  ['no task', '  [000] ..... 1.0: map: IOMMU', 'task', /TASK-PID/],
  ['no time', 'a-1 [000] ..... map: IOMMU: iova=0x0', 'time', /a timestamp/],
  [
    'a function trace',
    'a-1 [000] 1.0: mutex_unlock <-unix_stream_recvmsg',
    'event',
    /the name of an event and a colon/,
  ],
  ['a missing field', map.replace('paddr=0x40000000 ', ''), 'map.paddr', /got "no such field"/],
  ['a field that is no number', map.replace('0x40000000', 'zero'), 'map.paddr', /got "zero"/],
  ['a bad digit', map.replace('0x40000000', '0x4000g000'), 'map.paddr', /got "0x4000g000"/],
  ['digits missing', map.replace('0x40000000', '0x'), 'map.paddr', /got "0x"/],
  ['an address of 64 bits', map.replace('0x40000000', '0xffff000000000000'), 'map.paddr', /at most 52 bits/],
  ['a line that is cut off', map.slice(0, -9), 'map.size', /no such field/],
  ['a size of nothing', map.replace('size=4096', 'size='), 'map.size', /got "nothing"/],
  ['a size of zero', map.replace('size=4096', 'size=0'), 'map.size', /a number from 1, got "0"/],
  ['an end that is not iova + size', map.replace('0x2000', '0x3000'), 'map.end', /0x2000, got "0x3000"/],
  ['a negative size', map.replace('size=4096', 'size=-1'), 'map.size', /got "-1"/],
  ['no ops', pgMap.replace('ops=0x1 ', ''), 'pg_map.ops', /a pointer/],
  ['a pointer that is none', pgMap.replace('pgd=0x2', 'pgd=(null)'), 'pg_map.pgd', /got "\(null\)"/],
  ['no count', pgMap.replace('pgcount=1', 'pgcount='), 'pg_map.pgcount', /got "nothing"/],
])('%s is an error that names file, line and field', (_, line, field, message) => {
  const parser = new TraceParser('log.txt');
  expect(parser.push(map)).not.toBeNull();
  expect(parser.push(line)).toBeNull();
  const { errors, errorCount } = parser.summary();
  expect(errorCount).toBe(1);
  expect(errors[0]).toMatchObject({ file: 'log.txt', line: 2, field: field ?? null });
  expect(errors[0]!.message).toMatch(message);
  expect(errors[0]!.message.startsWith('log.txt:2: ')).toBe(true);
});

test('blank lines, comments, headers and call chains are not events; lost events are listed', () => {
  const text = [
    '# tracer: nop',
    '',
    '   ',
    'cpus=2',
    'CPU:1 [LOST 1234 EVENTS]',
    'CPU:0 [EVENTS DROPPED]',
    map,
    ' => iommu_map',
    '\tffffffffb7ad6b30 iommu_map+0x8e0 ([kernel.kallsyms])',
    '',
  ].join('\n');
  const trace = parseTrace(text, 'x');
  expect(trace.errors).toEqual([]);
  expect(trace.events.length).toBe(1);
  expect(trace.lost).toEqual([
    { line: 5, count: 1234 },
    { line: 6, count: null },
  ]);
  expect(trace.header).toContain('cpus=2');
});

test('names of devices are stream IDs', () => {
  expect(['0000:00:02.0', '0000:01:00.0', '00:1f.7', 'arm-smmu-v3.0.auto'].map(pciStreamId)).toEqual([
    16,
    256,
    255,
    null,
  ]);
});
