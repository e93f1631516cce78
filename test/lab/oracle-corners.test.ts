/** Corners in which the correct hypervisor was once accused: scenarios that long runs of random calls came upon. */
import { expect, test } from 'vitest';
import { parseScenario, runScenario } from '../../lab/scenario/index.ts';
import { hypervisorByIdentity } from '../../lab/zoo/index.ts';

const header = 'postern scenario v1\nprofile android17\nmachine tiny\nhypervisor postern\n\n';

test('memory for a table runs out before the SMMU is asked about the first chunk of a refill', () => {
  const text = `${header}@cpu0 set_identity endpoint=usb on=on -> 0
smmu0 stops answering
@cpu0 alloc_mgt_reclaim pool=heap target=256 -> 0x4037f000
@cpu0 alloc_mgt_refill pool=heap head=0x40000000 count=1 -> -ENOMEM request heap 1
`;
  expect(runScenario(parseScenario(text), { hypervisors: hypervisorByIdentity })).toMatchObject({
    violations: [],
    ok: true,
  });
});
