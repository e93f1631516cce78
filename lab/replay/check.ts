/** Whether a log can be replayed on a machine at all: every address that it maps must exist there. */
import { type MachineDescription, SMMU_MMIO_SIZE } from '#machine';
import { InputError } from '../input-error.ts';
import type { OperationLog } from '../trace/operation.ts';

/** @throws InputError at the first map of something that is neither RAM nor one device's registers */
export function checkAddresses(log: OperationLog, machine: MachineDescription, file: string): void {
  const places = [
    ...machine.ram,
    ...machine.mmio,
    ...machine.smmus.map(({ base }) => ({ base, size: SMMU_MMIO_SIZE })),
  ];
  for (const operation of log.operations) {
    if (operation.kind !== 'map') continue;
    const { pa, size, line } = operation;
    if (places.some((place) => pa >= place.base && pa + size <= place.base + place.size)) continue;
    const ram = machine.ram.map((range) => `${hex(range.base)}-${hex(range.base + range.size)}`).join(', ');
    const expected = `addresses in the RAM of ${machine.name} (${ram}) or of one of its devices`;
    throw new InputError({ file, line, field: 'paddr', expected, got: `${hex(pa)}-${hex(pa + size)}` });
  }
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
