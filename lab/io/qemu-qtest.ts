/** QEMU's qtest protocol: lines of text over a socket that drive a board without a guest. Commands may be pipelined. */
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { InputError } from '../input-error.ts';
import { QemuProcess } from './qemu-process.ts';

interface Waiting {
  resolve(answer: string): void;
  reject(error: Error): void;
  readonly line: string;
}

/** QEMU is gone; the message says what it wrote last. */
export class QemuGone extends Error {
  constructor(text: string) {
    super(`QEMU ended${text === '' ? '' : `: ${text.split('\n').slice(-3).join(' ')}`}`);
    this.name = 'QemuGone';
  }
}

export class Qtest {
  private readonly process: QemuProcess;
  private readonly server: Server;
  private readonly socket: Socket;
  private readonly waiting: Waiting[] = [];
  private outgoing: string[] = [];
  private rest = '';
  private gone: QemuGone | null = null;

  private constructor(process: QemuProcess, server: Server, socket: Socket) {
    this.process = process;
    this.server = server;
    this.socket = socket;
    socket.setNoDelay(true);
    socket.setEncoding('latin1');
    socket.on('data', (text) => this.receive(String(text)));
    socket.on('error', () => {});
    process.ended.then(
      (text) => this.fail(text),
      (error) => this.fail(String(error)),
    );
  }

  /** Starts QEMU with these arguments and a qtest socket in `folder`. @throws InputError when it does not start */
  static async start(program: string, folder: string, args: readonly string[]): Promise<Qtest> {
    const path = join(folder, 'qtest');
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const connected = new Promise<Socket>((resolve) => server.once('connection', resolve));
    const process = new QemuProcess(program, folder, [...args, '-qtest', `unix:${path}`, '-qtest-log', 'none']);
    const died = process.ended.then((text) => {
      throw new InputError({
        file: program,
        expected: 'a QEMU that starts with this board',
        got: text || 'an early end',
      });
    });
    try {
      return new Qtest(process, server, await Promise.race([connected, died]));
    } catch (error) {
      server.close();
      throw error;
    }
  }

  /** Sends one command. Its answer comes without the `OK`. */
  send(line: string): Promise<string> {
    if (this.gone !== null) return Promise.reject(this.gone);
    return new Promise((resolve, reject) => {
      this.waiting.push({ resolve, reject, line });
      if (this.outgoing.length === 0) setImmediate(() => this.flush());
      this.outgoing.push(line);
    });
  }

  write32(at: number, value: number): Promise<string> {
    return this.send(`writel 0x${at.toString(16)} 0x${(value >>> 0).toString(16)}`);
  }

  write64(at: number, hi: number, lo: number): Promise<string> {
    const high = (hi >>> 0).toString(16);
    return this.send(`writeq 0x${at.toString(16)} 0x${high}${(lo >>> 0).toString(16).padStart(8, '0')}`);
  }

  async read32(at: number): Promise<number> {
    return Number(await this.send(`readl 0x${at.toString(16)}`)) | 0;
  }

  /** Fills [at, at + size) with zeros. */
  clear(at: number, size: number): Promise<string> {
    return this.send(`memset 0x${at.toString(16)} 0x${size.toString(16)} 0x0`);
  }

  /** Ends QEMU. */
  async stop(): Promise<void> {
    await this.process.stop();
    this.server.close();
    this.socket.destroy();
  }

  private flush(): void {
    this.socket.write(`${this.outgoing.join('\n')}\n`);
    this.outgoing = [];
  }

  private receive(text: string): void {
    const lines = (this.rest + text).split('\n');
    this.rest = lines.pop()!;
    for (const line of lines) {
      if (line.startsWith('IRQ ')) continue;
      const waiting = this.waiting.shift();
      if (waiting === undefined) continue;
      if (line.startsWith('OK')) waiting.resolve(line.slice(3));
      else waiting.reject(new Error(`qtest: ${waiting.line} was answered with ${line}`));
    }
  }

  private fail(text: string): void {
    this.gone = new QemuGone(text);
    for (const { reject } of this.waiting.splice(0)) reject(this.gone);
  }
}
