/** A guest under QEMU with devices behind its SMMUv3: what it says on its console, and its monitor. */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, truncateSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';

const BOOT_MS = 120_000;

/** Where the devices are: StreamID is bus, device and function of PCI. */
export const STREAMS = { 'virtio disk': 0x10, nvme: 0x18, 'root port': 0x20, e1000e: 0x100 };

export class Guest {
  /** Everything that was written to the console. */
  console = '';
  /** @param folder for sockets and the log disk @param append what is added to the kernel's command line */
  constructor({ kernel, initramfs }, folder, append) {
    this.socket = join(folder, 'qmp');
    this.log = join(folder, 'log.img');
    this.errors = join(folder, 'stderr');
    closeSync(openSync(this.log, 'w'));
    truncateSync(this.log, 2 ** 26);
    const disk = (name) => ['-blockdev', `driver=null-co,node-name=${name},size=67108864,read-zeroes=on`];
    const words = ['console=ttyAMA0 panic=-1 loglevel=4 ipv6.disable=1 trace_event=iommu:* trace_buf_size=4M', append];
    const args = [
      ...['-M', 'virt,iommu=smmuv3,gic-version=3', '-cpu', 'cortex-a57', '-m', '384M', '-nodefaults', '-no-reboot'],
      ...['-kernel', kernel, '-initrd', initramfs, '-append', words.join(' ')],
      ...['-display', 'none', '-serial', 'stdio', '-qmp', `unix:${this.socket},server=on,wait=off`],
      ...[
        '-drive',
        `file=${this.log},format=raw,if=none,id=log,cache=unsafe`,
        '-device',
        'virtio-blk-device,drive=log',
      ],
      ...[...disk('d0'), '-device', 'virtio-blk-pci,drive=d0,disable-legacy=on,iommu_platform=on,addr=02.0'],
      ...[...disk('d1'), '-device', 'nvme,drive=d1,serial=live,addr=03.0'],
      ...['-device', 'pcie-root-port,id=rp0,chassis=1,slot=1,addr=04.0', '-netdev', 'user,id=n0,restrict=on'],
      ...['-device', 'e1000e,netdev=n0,bus=rp0,romfile='],
    ];
    const errors = openSync(this.errors, 'w');
    this.child = spawn('qemu-system-aarch64', args, { stdio: ['pipe', 'pipe', errors] });
    closeSync(errors);
    this.child.stdin.on('error', () => {});
    this.ended = new Promise((resolve) => this.child.once('close', resolve));
    this.child.stdout.setEncoding('latin1').on('data', (text) => {
      this.console += text;
      this.look?.();
    });
    process.once('exit', () => this.child.kill('SIGKILL'));
  }

  /** Waits until the console has a whole line that matches. */
  async says(pattern) {
    const line = new RegExp(`^${pattern.source}\\r?$`, 'm');
    let timer;
    const found = new Promise((resolve, reject) => {
      const fail = (why) => reject(new Error(`the guest ${why}: ${this.tail()}`));
      this.look = () => {
        const match = line.exec(this.console);
        if (match !== null) resolve(match);
        else if (/Kernel panic/.test(this.console)) fail('panics');
      };
      this.ended.then(() => fail('ends'));
      timer = setTimeout(() => fail(`does not say ${pattern.source} within ${BOOT_MS / 1000} s`), BOOT_MS);
      this.look();
    });
    return found.finally(() => clearTimeout(timer));
  }

  /** A line for the console's reader. */
  type(text) {
    this.child.stdin.write(`${text}\n`);
  }

  /** What was last written, for errors. */
  tail() {
    return `${this.console.slice(-1500)}${readFileSync(this.errors, 'utf8').slice(-500)}`;
  }

  /** Executes one command of the monitor. */
  async monitor(execute, args = {}) {
    const socket = connect(this.socket);
    const send = (name, more) => socket.write(`${JSON.stringify({ execute: name, arguments: more })}\n`);
    let rest = '';
    let answers = 0;
    try {
      return await new Promise((resolve, reject) => {
        socket.on('error', reject).on('close', () => reject(new Error(`no answer to ${execute}`)));
        socket.on('data', (text) => {
          const lines = (rest + text).split('\n');
          rest = lines.pop();
          for (const message of lines.map((text) => JSON.parse(text))) {
            if (message.error !== undefined) reject(new Error(`${execute}: ${message.error.desc}`));
            else if (message.QMP !== undefined) send('qmp_capabilities');
            else if (message.return !== undefined && answers++ === 0) send(execute, args);
            else if (message.return !== undefined) resolve(message.return);
          }
        });
      });
    } finally {
      socket.destroy();
    }
  }

  async stop() {
    this.child.kill('SIGKILL');
    await this.ended;
  }
}
