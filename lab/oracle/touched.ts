/**
 * What was written since it was last compared with the ghost: pages, domains, streams, tags, VMs, CPUs. Scratch of one
 * call, not state: what is in these lists is looked at once more, never taken as a fact.
 */

/** A set of small numbers that is emptied often. */
export class NumberList {
  items: Int32Array;
  length = 0;
  private stamps: Int32Array;
  private stamp = 1;

  constructor(capacity: number) {
    this.items = new Int32Array(64);
    this.stamps = new Int32Array(capacity);
  }

  add(n: number): void {
    if (n >= this.stamps.length) {
      const larger = new Int32Array(2 * n);
      larger.set(this.stamps);
      this.stamps = larger;
    }
    if (this.stamps[n] === this.stamp) return;
    this.stamps[n] = this.stamp;
    if (this.length === this.items.length) {
      const larger = new Int32Array(2 * this.length);
      larger.set(this.items);
      this.items = larger;
    }
    this.items[this.length++] = n;
  }

  has(n: number): boolean {
    return this.stamps[n] === this.stamp;
  }

  clear(): void {
    this.length = 0;
    this.stamp++;
  }
}

export class Touched {
  readonly pages: NumberList;
  /** Pages whose owner has changed. */
  readonly owners: NumberList;
  readonly domains = new NumberList(1024);
  readonly tags = new NumberList(1024);
  readonly vms = new NumberList(64);
  readonly cpus = new NumberList(16);
  /** Devices of the registry. */
  readonly devices = new NumberList(64);
  /** Register ranges of devices. */
  readonly resources = new NumberList(64);
  /** Whether records of paravirtual IOMMUs, or the bits of guests' domain ids, were. */
  guestTables = false;
  /** Streams as pairs (SMMU, StreamID). */
  readonly streams: number[] = [];
  /** Guest pages as pairs (VM slot, guest page number). */
  readonly guestPages: number[] = [];
  /** Addresses of device pages. */
  readonly devicePages: number[] = [];
  /** By SMMU: the producer index behind the last CMD_SYNC, or -1. */
  readonly synced: Int32Array;
  /** CMD_RESUMEs that were queued, four words each: SMMU, StreamID, tag, and what becomes of the access (word 0, 13:12). */
  readonly resumed: number[] = [];
  /** Whether an SMMU was switched on or off. */
  power = false;
  /** Whether {@link synced} has any. */
  hasSynced = false;

  constructor(pages: number, smmus: number) {
    this.synced = new Int32Array(smmus).fill(-1);
    this.pages = new NumberList(pages);
    this.owners = new NumberList(pages);
  }

  addStream(smmu: number, sid: number): void {
    const { streams } = this;
    const n = streams.length;
    if (n >= 2 && streams[n - 1] === sid && streams[n - 2] === smmu) return;
    streams.push(smmu, sid);
  }

  clear(): void {
    this.pages.clear();
    this.owners.clear();
    this.domains.clear();
    this.tags.clear();
    this.vms.clear();
    this.cpus.clear();
    this.devices.clear();
    this.resources.clear();
    this.guestTables = false;
    if (this.streams.length !== 0) this.streams.length = 0;
    if (this.guestPages.length !== 0) this.guestPages.length = 0;
    if (this.devicePages.length !== 0) this.devicePages.length = 0;
    if (this.resumed.length !== 0) this.resumed.length = 0;
    if (this.hasSynced) this.synced.fill(-1);
    this.hasSynced = false;
    this.power = false;
  }
}
