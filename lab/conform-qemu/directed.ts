/** The input that ended QEMU 10.0 and 11.1, for those who want to know whether it ends this one. */
import { SIDS, STRTAB } from './layout.ts';
import type { AccessOutcome, Subject } from './types.ts';

/** How QEMU takes an STE with stage 2 and S2AA64 = 0: C_BAD_STE is right. */
export type CrashOutcome = AccessOutcome | { readonly ended: string };

/** Gives one access through such an entry to `subject`, which may not survive it. */
export async function aarch32Stage2(subject: Subject): Promise<CrashOutcome> {
  const sid = SIDS[0]!;
  try {
    await subject.reset({ strtabBase: STRTAB, strtabBaseCfg: 8, cr2: 0 });
    await subject.write(STRTAB + 64 * sid, { hi: 0, lo: 1 | (6 << 1) });
    // S2T0SZ 25, S2SL0 1, S2PS 44 bits, S2R; S2AA64 stays 0.
    await subject.write(STRTAB + 64 * sid + 16, { hi: 25 | (1 << 6) | (4 << 16) | (1 << 26), lo: 0 });
    return await subject.dma(sid, 0x1000, false);
  } catch (error) {
    if (error instanceof Error && error.name === 'QemuGone') return { ended: error.message };
    throw error;
  }
}
