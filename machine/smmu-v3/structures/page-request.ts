/** The entry of the PRI queue (16 bytes): what a device says in a PCIe page request message. */

import { row, structure } from './field.ts';
import { ON_OFF } from './values.ts';

const flag = { values: ON_OFF };

export const PAGE_REQUEST = structure('PPR', 'Page request', 2, [
  row('SID', 0, '31:0', 'stream'),
  row('SSID', 0, '51:32', 'substream'),
  row('Priv', 0, '58', 'for privileged accesses; 0 when SSV is', flag),
  row('X', 0, '59', 'for execution; 0 when SSV is', flag),
  row('R', 0, '60', 'for reads', flag),
  row('W', 0, '61', 'for writes', flag),
  row('L', 0, '62', 'last of its group; with SSV and neither R nor W a Stop Marker', flag),
  row('SSV', 0, '63', 'SSID counts', flag),
  row('PRGIndex', 1, '8:0', 'page request group'),
  row('Address', 1, '63:12', 'page address', { kind: 'address' }),
]);
