/**
 * QMP for any number of clients at once: the socket behind a VM's name. Each client has a session
 * of its own, up to a limit.
 */
import type { Disposable } from '../../base/disposable.js';
import { SocketChar } from '../../chardev/socket.js';
import type { Address, Clock, Listener, Sockets, Stream } from '../../host/ports.js';
import type { Registry } from '../schema.js';
import type { Vm } from '../../vm/vm.js';
import { type MonitorPorts, QmpServer } from './server.js';

const MAX_CLIENTS = 16;

export interface QmpListenerPorts extends MonitorPorts {
  readonly sockets: Sockets;
  readonly clock: Clock;
}

export class QmpListener implements Disposable {
  private listener: Listener | undefined;
  private served: { vm: Vm; registry: Registry } | undefined;
  /** They came before the VM was built. */
  private early: Stream[] = [];
  private readonly clients = new Set<Disposable>();

  constructor(
    private readonly label: string,
    private readonly ports: QmpListenerPorts,
  ) {}

  /** From now on the address is taken; clients wait until serve(). */
  async listen(address: Address): Promise<void> {
    this.listener = await this.ports.sockets.listen(address, stream => this.accept(stream));
  }

  serve(vm: Vm, registry: Registry): void {
    this.served = { vm, registry };
    for (const stream of this.early.splice(0)) this.accept(stream);
  }

  dispose(): void {
    this.listener?.dispose();
    for (const stream of this.early.splice(0)) stream.destroy();
    for (const client of [...this.clients]) client.dispose();
  }

  private accept(stream: Stream): void {
    if (this.clients.size + this.early.length >= MAX_CLIENTS) return stream.destroy();
    if (!this.served) {
      this.early.push(stream);
      return;
    }
    const { vm, registry } = this.served;
    const client: Disposable = {
      dispose: () => {
        this.clients.delete(client);
        server.dispose();
        chr.dispose();
      },
    };
    const chr = SocketChar.over(this.label, this.ports, stream, () => client.dispose());
    const server = new QmpServer(vm, registry, chr, this.ports);
    this.clients.add(client);
  }
}
