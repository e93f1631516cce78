/** Where things lie in the machine that both sides run: QEMU's `virt` board with 256 MiB. */

export const RAM_BASE = 0x40000000;
export const RAM_SIZE = 0x10000000;
/** The board puts a device tree at the start of memory. */
export const DEVICE_TREE_SIZE = 0x100000;
export const SMMU_BASE = 0x09050000;
/** Tables and queues lie below DATA; what devices read and write, in DATA and up. */
export const STRTAB = 0x40100000;
export const CDS = 0x40200000;
export const CMDQ = 0x40300000;
export const EVTQ = 0x40400000;
export const TABLES = 0x41000000;
export const DATA = 0x48000000;
/** Where a processor waits that QEMU needs for time to pass. */
export const WAIT_LOOP = 0x4f000000;
/** log2 of the entries of either queue. */
export const QUEUE_LOG2 = 10;

/** The StreamIDs of the devices: bus 0, device number × 8. */
export const DEVICE_SLOTS: readonly number[] = [1, 2, 5, 8, 16, 30];
export const SIDS: readonly number[] = DEVICE_SLOTS.map((slot) => slot << 3);

/** Address bits above which, with an address of RAM, the board has nothing at all. */
export const EMPTY: readonly number[] = [33, 34, 35, 36, 37, 40, 41, 42, 43, 44, 45, 46];

/** Has the board something of its own there? The registers of devices answer in ways of their own; the loop stays. */
export function isTaken(pa: number): boolean {
  // Redistributors, PCI configuration space and the high PCI window lie above.
  return pa < RAM_BASE || (pa >= 2 ** 38 && pa < 2 ** 40) || (pa >= WAIT_LOOP && pa < WAIT_LOOP + 0x1000);
}

/** May an access go to this address? Not where tables lie, which its data would change, and not to devices. */
export function mayTouch(pa: number): boolean {
  return pa >= DATA && !isTaken(pa);
}
