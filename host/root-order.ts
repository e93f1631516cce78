/** How large the first table of a stage-2 domain is: what a host must know that gives the pages for it. */

import { configurePageTable, pgdBytes } from '#io-pgtable';
import type { SmmuDescription } from '#machine/host-view';

/** log2 of the pages of a domain's first table, by IOMMU; 0 for an IOMMU without stage 2. */
export function rootOrders({ smmus }: { readonly smmus: readonly SmmuDescription[] }): number[] {
  return smmus.map(({ stage2, oas, coherent }) => {
    if (!stage2) return 0;
    const layout = configurePageTable({
      fmt: 'ARM_64_LPAE_S2',
      pgsizeBitmap: 2 ** 30 + 2 ** 21 + 2 ** 12,
      ias: oas,
      oas,
      coherentWalk: coherent,
      quirks: 0,
    });
    return typeof layout === 'number' ? 0 : Math.max(0, Math.ceil(Math.log2(pgdBytes(layout) / 4096)));
  });
}
