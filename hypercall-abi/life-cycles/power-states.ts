/** What registers tell of the power of IOMMUs: which way each was switched last. */

import type { Report } from './life-cycle.ts';
import type { Platform } from './platform.ts';
import { moveOf, Possible } from './possible.ts';
import { powerLifeCycle } from './tables.ts';

const OFF = moveOf(powerLifeCycle, 'SWITCH_OFF');
const ON = moveOf(powerLifeCycle, 'SWITCH_ON');
const UNANSWERED = moveOf(powerLifeCycle, 'SWITCH_ON_UNANSWERED');
const COMMAND = moveOf(powerLifeCycle, 'COMMAND');

export class PowerStates {
  readonly #platform: Platform;
  readonly #states: Possible;

  constructor(platform: Platform, report: Report) {
    this.#platform = platform;
    this.#states = new Possible(powerLifeCycle, platform.iommus.length, report);
  }

  reset(): void {
    this.#states.reset();
  }

  /** hvc_pd succeeded, or ended without an answer. One that was to go off and did not answer is on still. */
  switched(powerDomain: number, on: boolean, answered: boolean): void {
    const iommu = this.#platform.iommus.findIndex((one) => one.powerDomain === powerDomain);
    if (iommu < 0 || !(on || answered)) return;
    this.#states.judge(iommu, String(iommu), on ? (answered ? ON : UNANSWERED) : OFF);
  }

  /** A call about one IOMMU waited in vain for an answer to a command. */
  unanswered(iommu: number): void {
    if (iommu < this.#platform.iommus.length) this.#states.judge(iommu, String(iommu), COMMAND);
  }
}
