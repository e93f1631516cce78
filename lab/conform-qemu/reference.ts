/** This project's machine as one side of a differential run: it does what the other side does, and says what may follow. */
import { createMachine, type Machine, qemuVirt, registers } from '#machine';
import type { Word64 } from '../oracle/decode/fields.ts';
import { decodeCapabilities, type SmmuCapabilities } from '../oracle/decode/idr.ts';
import { CMDQ, EVTQ, QUEUE_LOG2, RAM_BASE, RAM_SIZE, SIDS, SMMU_BASE } from './layout.ts';
import { type AccessOutcome, NO_EVENT, recorded, type Setup } from './types.ts';

const { Register } = registers;

/** The ID registers of the SMMU that is compared with. */
export interface IdRegisters {
  readonly idr0: number;
  readonly idr1: number;
  readonly idr3: number;
  readonly idr5: number;
}

/** The registers of QEMU 7.2, for runs without it. */
export const QEMU_7_2_IDS: IdRegisters = { idr0: 0x0d40101a, idr1: 0x02730010, idr3: 0x1404, idr5: 0x74 };

/** The machine, with one program's state in it. */
export class Reference {
  readonly capabilities: SmmuCapabilities;
  private readonly ids: IdRegisters;
  private machine: Machine;
  private prod = 0;

  constructor(ids: IdRegisters) {
    this.ids = ids;
    this.capabilities = decodeCapabilities(ids.idr0, ids.idr1, ids.idr3, ids.idr5);
    this.machine = this.fresh();
  }

  /** A machine with empty memory and an SMMU set up as `setup` says. */
  reset(setup: Setup): void {
    this.machine = this.fresh();
    this.prod = 0;
    const smmu = this.machine.smmus[0]!;
    smmu.write32(Register.CR1, 0xd75);
    smmu.write32(Register.CR2, setup.cr2);
    smmu.write64(Register.CMDQ_BASE, 0, CMDQ | QUEUE_LOG2);
    smmu.write64(Register.EVENTQ_BASE, 0, EVTQ | QUEUE_LOG2);
    smmu.write64(Register.STRTAB_BASE, 0, setup.strtabBase);
    smmu.write32(Register.STRTAB_BASE_CFG, setup.strtabBaseCfg);
    smmu.write32(Register.CR0, 0xd);
  }

  write(at: number, { hi, lo }: Word64): void {
    this.machine.memory.write64(at, hi, lo);
  }

  /** The word at `pa`; null where there is no memory. */
  read(pa: number): Word64 | null {
    const { memory } = this.machine;
    if (!memory.isRam(pa)) return null;
    const index = memory.indexOf(pa);
    return { hi: memory.words[index + 1]!, lo: memory.words[index]! };
  }

  /** Puts commands into the queue. @throws Error when one of them is ILLEGAL: a program never has such */
  commands(commands: readonly (readonly number[])[]): void {
    const smmu = this.machine.smmus[0]!;
    for (const [lo0, hi0, lo1, hi1] of commands) {
      const at = CMDQ + 16 * (this.prod % 2 ** QUEUE_LOG2);
      this.write(at, { hi: hi0!, lo: lo0! });
      this.write(at + 8, { hi: hi1!, lo: lo1! });
      this.prod = (this.prod + 1) % 2 ** (QUEUE_LOG2 + 1);
    }
    smmu.write32(Register.CMDQ_PROD, this.prod);
    if (smmu.read32(Register.CMDQ_CONS) !== this.prod) throw new Error('the model took a command for ILLEGAL');
  }

  /** Every outcome that hardware may give to an access; the first is what the tables say. */
  possible(sid: number, iova: number, write: boolean): AccessOutcome[] {
    return this.machine.smmus[0]!.possible(sid, iova, write).map(({ ok, pa, event }) =>
      ok ? { ok: true, pa } : event?.recorded === true ? recorded(event.words) : NO_EVENT,
    );
  }

  private fresh(): Machine {
    const { idr0 } = this.ids;
    return createMachine({
      name: 'qemu-virt-256',
      ram: [{ base: RAM_BASE, size: RAM_SIZE }],
      mmio: [],
      carveOut: { base: RAM_BASE + RAM_SIZE - 0x1000, size: 0x1000 },
      cpus: 1,
      smmus: [
        {
          ...qemuVirt.smmus[0]!,
          base: SMMU_BASE,
          stage1: this.capabilities.stage1,
          stage2: this.capabilities.stage2,
          vmid16: this.capabilities.vmid16,
          sev: (idr0 & 0x4000) !== 0,
        },
      ],
      devices: SIDS.map((sid) => ({ name: `edu-${sid}`, smmu: 'smmu0', sid })),
    });
  }
}
