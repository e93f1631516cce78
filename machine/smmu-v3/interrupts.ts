/**
 * Interrupts of an SMMU: an error in GERROR, the event queue's first entry, page requests, the completion of a CMD_SYNC.
 * Each goes to a wire, which only an observer sees here, or as a message (MSI): a 32-bit write to an address that software chose, which
 * no translation checks. An MSI that nothing takes raises its own error in GERROR, and that raises no interrupt.
 */

import { join } from '../word64.ts';
import type { RegisterFile } from './events.ts';
import {
  GERROR_MSI_CMDQ,
  GERROR_MSI_EVENTQ,
  GERROR_MSI_GERROR,
  GERROR_MSI_PRIQ,
  IRQ_EVENTQ,
  IRQ_GERROR,
  IRQ_PRIQ,
  Register,
} from './registers.ts';
import type { InterruptName, SmmuObserver } from './types.ts';

/** Where MSIs go: false when nothing answers at the address. */
export type Doorbell = (address: number, data: number) => boolean;

export class Interrupts {
  observer: SmmuObserver | null = null;
  private readonly registers: RegisterFile;
  private readonly doorbell: Doorbell | null;

  /** @param doorbell null where there are no MSIs */
  constructor(registers: RegisterFile, doorbell: Doorbell | null) {
    this.registers = registers;
    this.doorbell = doorbell;
  }

  /** Makes errors active that are not yet, and tells of it. */
  raise(errors: number): void {
    if (this.activate(errors) && (this.registers.get(Register.IRQ_CTRL) & IRQ_GERROR) !== 0) {
      this.signal('gerror', Register.GERROR_IRQ_CFG0, GERROR_MSI_GERROR);
    }
  }

  /** The event queue is no longer empty. */
  events(): void {
    if ((this.registers.get(Register.IRQ_CTRL) & IRQ_EVENTQ) !== 0) {
      this.signal('eventq', Register.EVENTQ_IRQ_CFG0, GERROR_MSI_EVENTQ);
    }
  }

  /** The PRI queue is no longer empty, or the last request of a group came. */
  pageRequests(): void {
    if ((this.registers.get(Register.IRQ_CTRL) & IRQ_PRIQ) !== 0) {
      this.signal('priq', Register.PRIQ_IRQ_CFG0, GERROR_MSI_PRIQ);
    }
  }

  /** A CMD_SYNC with CS = SIG_IRQ completed. An address of 0 means no MSI. */
  sync(addressHi: number, addressLo: number, data: number): void {
    this.send('sync', join(addressHi & 0x000fffff, addressLo & ~3), data, GERROR_MSI_CMDQ);
  }

  private signal(which: InterruptName, config: number, error: number): void {
    const { registers } = this;
    // CFG0 is the address (64 bits), CFG1 the data.
    const address = join(registers.get(config + 4) & 0x000fffff, registers.get(config) & ~3);
    this.send(which, address, registers.get(config + 8), error);
  }

  private send(which: InterruptName, address: number, data: number, error: number): void {
    const message = this.doorbell !== null && address !== 0;
    this.observer?.interrupt?.(which, message ? address : -1, message ? data : 0);
    if (!message || this.doorbell?.(address, data) === true) return;
    if (error === GERROR_MSI_GERROR) this.activate(error);
    else this.raise(error);
  }

  /** Toggles those bits of GERROR that are not active; false when there is none. */
  private activate(errors: number): boolean {
    const gerror = this.registers.get(Register.GERROR);
    const news = errors & ~(gerror ^ this.registers.get(Register.GERRORN));
    if (news !== 0) this.registers.put(Register.GERROR, gerror ^ news);
    return news !== 0;
  }
}
