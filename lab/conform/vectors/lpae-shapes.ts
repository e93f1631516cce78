/** The shapes of the `arm-lpae-*` files. */
import { Quirk } from '#io-pgtable/plain';
import { count, flag, hex, list, nullable, oneOf, record, type Shape, tagged, text, tuple, whole } from './shape.ts';

const PROFILES = ['linux-7.2', 'linux-6.12'];
const FORMATS = ['ARM_64_LPAE_S1', 'ARM_64_LPAE_S2', 'ARM_32_LPAE_S1', 'ARM_32_LPAE_S2'];

const config: Readonly<Record<string, Shape>> = {
  fmt: oneOf(...FORMATS),
  pgsize_bitmap: hex,
  ias: count,
  oas: count,
  coherent_walk: flag,
  quirks: list(oneOf(...Object.keys(Quirk))),
};

const configOut = record({ start_level: count, pgd_bits: count, bits_per_level: count, pgd_size: count });

const events = list(text);
const seen = { w: count, ev: events, ck: text };

const op = tagged('o', {
  map: record({ iova: hex, pa: hex, sz: hex, n: count, prot: count, ret: whole, mapped: hex }, seen),
  unmap: record({ iova: hex, sz: hex, n: count, ret: hex }, seen),
  i2p: record({ iova: hex, ret: hex }, seen),
  walk: record({ iova: hex, ret: whole, ptes: list(hex, 4) }, seen),
  failalloc: record({ skip: count, count }, seen),
  hwdirty: record({ iova: hex, hit: count }, seen),
  dirty: record({ iova: hex, sz: hex, flags: count, ret: whole, dirty: list(tuple([hex, hex])) }, seen),
});

const leaf = tuple([hex, hex, hex, count, hex]);
const table = record({ pa: hex, lvl: oneOf(0, 1, 2, 3), n: count, e: list(tuple([count, hex, count, hex], 2)) });

/** `arm-lpae-vectors` */
export const SEQUENCES: Shape = record({
  profile: oneOf(...PROFILES),
  sequences: list(
    record({
      id: text,
      cfg: record({ ...config, arena: hex }),
      cfg_out: configOut,
      alloc_ev: events,
      ops: list(op),
      final: record({ leaves: list(leaf), digest: text, tables: list(table) }),
      free_ev: events,
    }),
  ),
});

/** `arm-lpae-configs` */
export const CONFIGS: Shape = record({
  profile: oneOf(...PROFILES),
  cases: list(record({ ...config, out: nullable(configOut) })),
});
