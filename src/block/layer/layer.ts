/**
 * The block layer of one VM: drives, nodes, the NBD server. What the machine builds from its
 * command line and what the monitor calls.
 */
import { deviceNotFound, VmError } from '../../base/errors.js';
import type { Events } from '../../base/events.js';
import type { Address } from '../../host/ports.js';
import type { QmpEvents } from '../../qapi/types.js';
import { DriveBackend } from '../backend/backend.js';
import { NamedBitmaps } from '../bitmaps/named-bitmaps.js';
import type { BlockBackend, DiskProperties } from '../contract/backend.js';
import type { PrimaryDisk, SecondaryDisk } from '../contract/replicated.js';
import { inRole } from '../contract/roles.js';
import { SECTOR } from '../contract/driver.js';
import { type Drive, Drives } from './drives.js';
import { ImageHolding } from './holding.js';
import { Media } from './media.js';
import { BlockGraph, type BlockHost, requireBootable } from '../graph/graph.js';
import { BlockJobs } from '../jobs/jobs.js';
import type { StartContext } from '../jobs/start.js';
import { claimTls } from '../../host/credentials.js';
import { NbdServer } from '../nbd/server.js';
import type { ImageRecord } from '../record/image-record.js';
import { type BlockNode, isAdopting } from '../contract/node.js';
import { OptionTree } from '../options/option-tree.js';
import { type DriveSpec, parseDrive, readBlockdev } from '../options/options.js';
import { inUseByColo, PairDisks } from './pair-disks.js';
import { type BlockInfo, blockInfo, type NodeInfo, nodeInfo } from './query.js';
import { Throttle } from '../backend/throttle.js';
import { checkLimits, isLimited, type ThrottleLimits } from '../options/throttle-limits.js';

export class BlockLayer {
  readonly graph: BlockGraph;
  readonly nbd: NbdServer;
  readonly bitmaps = new NamedBitmaps();
  readonly jobs: BlockJobs;
  /** What jobs may do here. */
  readonly startContext: StartContext;
  private readonly drives = new Drives();
  private readonly pair: PairDisks;
  /** Which process's the guest's images are, while it migrates. */
  readonly images: ImageHolding;
  readonly media: Media;
  /**
   * A request failed and waits: the VM must stop until the user has made room. Set by who has the
   * VM.
   */
  stopVm: () => void = () => undefined;

  constructor(
    private readonly host: BlockHost,
    private readonly events?: Events<QmpEvents>,
  ) {
    this.graph = new BlockGraph(host, events);
    this.images = new ImageHolding(this.graph, () =>
      [...this.drives].flatMap(({ backend }) =>
        backend.attachedDevice === undefined || backend.nodeName === '' ? [] : [backend.node],
      ),
    );
    this.nbd = new NbdServer(host);
    this.jobs = new BlockJobs(host.clock, events);
    this.pair = new PairDisks(this.drives, {
      refuseJobs: () => this.jobs.refuse('COLO'),
      exportOf: disk => this.nbd.writableExportOf(disk),
    });
    this.media = new Media(this.drives, this.graph);
    this.startContext = {
      host,
      graph: this.graph,
      jobs: this.jobs,
      bitmaps: this.bitmaps,
      resolve: name => this.find(name),
      requireFree: () => this.pair.requireNoColo(),
      mayReplace: (from, job) => this.mayReplace(from, job),
      replace: (from, to, owned) => this.replace(from, to, owned),
    };
    this.graph.resolve = name => this.resolve(name);
    this.graph.onTakeover = disk => this.nbd.evict(disk);
    this.graph.onFollow = (disk, follows) => this.nbd.oneWriter(disk, follows);
    events?.on('RESUME', () => {
      for (const { backend } of this.drives) backend.resetIoStatus();
    });
  }

  /** `-drive`. The device in front claims it later. */
  async addDrive(spec: DriveSpec): Promise<DriveBackend> {
    const { index } = spec;
    const id =
      spec.id ?? (index === undefined ? this.freshId(spec.interface) : `${spec.interface}${index}`);
    if (
      index !== undefined &&
      [...this.drives].some(other => other.index === index && other.interface === spec.interface)
    ) {
      throw new VmError(`drive with if=${spec.interface}, index=${index} exists`);
    }
    if (this.drives.find(id) || this.graph.find(id))
      throw new VmError(`the name '${id}' is in use already`);
    const root = spec.root && (await this.graph.build(spec.root, id));
    const owned = spec.root !== undefined && !('reference' in spec.root);
    try {
      if (root && spec.interface !== 'none') requireBootable(root);
      const backend = this.backendOver(root, id, spec);
      if (spec.throttle) this.throttle(backend, spec.throttle.limits, spec.throttle.group);
      this.drives.add({ backend, name: id, interface: spec.interface, index, owned });
      return backend;
    } catch (error) {
      if (root && owned) await this.graph.close(root);
      throw error;
    }
  }

  /**
   * HMP drive_add; its first word (an unused address) is read by the monitor. noBackend: `-n`, only
   * the node.
   */
  async driveAdd(text: string, options: { noBackend?: boolean } = {}): Promise<void> {
    const spec = parseDrive(text);
    // A node without a drive is no guest's disk, so it has no interface.
    if (!options.noBackend && spec.interface !== 'none')
      throw new VmError(`Can't hot-add drive to type ${spec.interface}: say if=none`);
    const { root } = spec;
    const nodeName = root && !('reference' in root) ? root.nodeName : undefined;
    await this.retire(nodeName);
    if (!options.noBackend) {
      await this.addDrive(spec);
      return;
    }
    if (!root || (!('reference' in root) && nodeName === undefined))
      throw new VmError("'node-name' needs to be specified");
    await this.graph.build(root);
  }

  private backendOver(
    root: BlockNode | undefined,
    id: string,
    spec?: Pick<DriveSpec, 'cache' | 'errors' | 'media'>,
  ): DriveBackend {
    const removable = spec?.media === 'cdrom';
    return new DriveBackend(id, root, {
      readOnly: removable || (root?.readOnly ?? true),
      removable,
      cache: spec?.cache ?? 'writeback',
      errors: spec?.errors,
      stopVm: () => this.stopVm(),
      events: this.events,
      clock: this.host.clock,
    });
  }

  /** -blockdev and QMP's blockdev-add. */
  async blockdevAdd(options: Readonly<Record<string, unknown>>): Promise<void> {
    const spec = readBlockdev(OptionTree.from(options));
    await this.retire(spec.nodeName);
    await this.graph.build(spec);
  }

  /** A replica that has ended leaves its place to another of its name. */
  private async retire(name: string | undefined): Promise<void> {
    const node = name === undefined ? undefined : this.graph.find(name);
    if (!node || !isSpent(node)) return;
    for (const { parent, edge } of this.graph.parentsOf(node))
      await this.graph.removeChild(parent, edge);
    for (const drive of this.drives.over(node)) {
      drive.backend.detach();
      this.drives.remove(drive);
    }
    await this.graph.close(node);
  }

  /**
   * HMP drive_del and QMP blockdev-del: a drive's guest gets errors from now on; a node must be
   * free.
   */
  async driveDel(name: string): Promise<void> {
    const drive = this.drives.find(name);
    if (drive && !drive.backend.hasMedium) return this.media.forget(drive);
    const node = drive ? drive.backend.node : this.graph.find(name);
    if (!node) throw deviceNotFound(name);
    const users = node.userLabels.filter(label => label !== drive?.backend.label);
    if (drive?.replicated?.inUse) throw inUseByColo(`'${name}'`);
    if (users.length > 0) throw new VmError(`'${name}' is in use by ${users.join(', ')}`);
    if (!drive) for (const { backend } of this.drives.over(node)) return this.driveDel(backend.id);
    if (drive) {
      drive.backend.detach();
      this.drives.remove(drive);
      await drive.backend.drain();
    }
    if (!drive || drive.owned) await this.graph.close(node);
  }

  /**
   * block_set_io_throttle. Without a group the drive keeps the one it is in; the first limits make
   * one, named after the drive.
   */
  setThrottle(id: string, limits: ThrottleLimits, group?: string): void {
    const backend = this.backend(id);
    checkLimits(limits);
    if (isLimited(limits)) return this.throttle(backend, limits, group);
    const alone =
      [...this.drives].filter(({ backend: other }) => other.throttle === backend.throttle)
        .length === 1;
    if (alone) backend.throttle?.configure(limits);
    backend.throttle = undefined;
  }

  /** Drives of one group share its budget; the limits are those that were said last. */
  private throttle(
    backend: DriveBackend,
    limits: ThrottleLimits,
    group = backend.throttle?.group ?? (backend.id || backend.attachedDevice!),
  ): void {
    const known = [...this.drives]
      .map(({ backend: { throttle } }) => throttle)
      .find(throttle => throttle?.group === group);
    if (known) known.configure(limits);
    backend.throttle = known ?? new Throttle(this.host.clock, limits, group);
  }

  /** A guest device takes the drive, or lays one without an id over a node. */
  claim(name: string, device: string, properties: DiskProperties = {}): BlockBackend {
    const known = this.drives.find(name);
    const drive = known ?? this.overNode(name);
    if (drive.backend.hasMedium) requireBootable(drive.backend.node);
    else if (!properties.removable)
      throw new VmError(`drive '${name}' is empty, and device '${device}' needs an image`, {
        hint: 'An empty drive is for -device ide-cd.',
      });
    drive.backend.claim(device, properties);
    if (!known) this.drives.add(drive);
    return drive.backend;
  }

  private overNode(name: string): Drive {
    const node = this.graph.find(name);
    if (!node) throw deviceNotFound(name);
    return { backend: this.backendOver(node, ''), name, interface: 'none', owned: false };
  }

  /** By its id, that of the device in front, or for one without an id by its node. */
  backend(name: string): DriveBackend {
    return this.drives.get(name).backend;
  }

  /** In the order of the command line. */
  list(): { id: string; interface: DriveSpec['interface']; backend: DriveBackend }[] {
    return [...this.drives].map(({ backend, interface: kind }) => ({
      id: backend.id,
      interface: kind,
      backend,
    }));
  }

  /** block_resize: a drive or a node. The guest sees it when it looks again. */
  async resize(name: string, length: number): Promise<void> {
    if (!Number.isSafeInteger(length) || length < 0)
      throw new VmError("Parameter 'size' expects a >0 size");
    const { node } = this.find(name);
    const drives = this.drives.over(node);
    this.pair.requireUnprotected(node, `'${name}'`);
    const others = node.userLabels.filter(
      label => !drives.some(({ backend }) => backend.label === label),
    );
    if (others.length > 0)
      throw new VmError(`'${name}' cannot change its length: it is in use by ${others.join(', ')}`);
    await node.resize(Math.ceil(length / SECTOR) * SECTOR);
    for (const { backend } of drives) backend.resized();
  }

  /** QMP x-blockdev-change. Returns the edge that was added or removed. */
  async blockdevChange(change: { parent: string; child?: string; node?: string }): Promise<string> {
    const { child, node } = change;
    if (child !== undefined && node !== undefined)
      throw new VmError(
        "'child' and 'node' exclude each other: one takes a child out, the other adds a node",
      );
    const parent = this.resolve(change.parent);
    // To take the replica away ends COLO, in order. Every other child holds a part of what is
    // protected.
    if (!inRole('follower', parent.children.get(child ?? '')))
      this.pair.requireUnprotected(parent, `'${change.parent}'`);
    if (node !== undefined) {
      const added = this.graph.find(node);
      if (!added) throw new VmError(`there is no node '${node}'`);
      if (inRole('follower', added)) await this.dropSpent(parent);
      return this.graph.addChild(parent, added);
    }
    if (child === undefined) throw new VmError("one of 'child' and 'node' is needed");
    await this.graph.removeChild(parent, child);
    return child;
  }

  /** A quorum has one replica. */
  private async dropSpent(quorum: BlockNode): Promise<void> {
    for (const [edge, child] of quorum.children)
      if (isSpent(child)) await this.graph.removeChild(quorum, edge);
  }

  /** nbd-server-start. tlsCreds: a tls-creds object; then clients must speak TLS. */
  async nbdServerStart(address: Address, tlsCreds?: string): Promise<void> {
    const tls =
      tlsCreds === undefined
        ? undefined
        : claimTls(this.host.sockets, this.graph.credentials, tlsCreds, 'server', 'the NBD server');
    try {
      await this.nbd.start(address, tls);
    } catch (error) {
      tls?.dispose();
      throw error;
    }
  }

  /** Before a writable export of a drive or node: who fills an image over NBD writes it. */
  async activate(name: string): Promise<void> {
    const node = this.drives.find(name)?.backend.node ?? this.graph.find(name);
    if (node) await this.graph.activate(node);
  }

  /** nbd-server-add. device: a drive, or a node. */
  nbdServerAdd(options: { device: string; writable?: boolean; name?: string }): void {
    const node = this.drives.find(options.device)?.backend.node ?? this.graph.find(options.device);
    if (this.nbd.address !== undefined && !node) throw deviceNotFound(options.device);
    this.nbd.add(options.name ?? options.device, node!, options.writable ?? false);
  }

  /** The disks that COLO covers, or an error that names one that it cannot. */
  primaryDisks(): PrimaryDisk[] {
    return this.pair.primaryDisks();
  }

  secondaryDisks(): SecondaryDisk[] {
    return this.pair.secondaryDisks();
  }

  /** Where the records of the pair are. */
  pairImages(): { disk: string; record: ImageRecord }[] {
    return this.pair.images();
  }

  /** What must be equal on both sides. */
  manifest(): { id: string; length: number; readOnly?: boolean }[] {
    return this.pair.manifest();
  }

  queryBlock(): BlockInfo[] {
    return [...this.drives].map(({ backend }) => blockInfo(backend, this.bitmaps));
  }

  queryNamedBlockNodes(): NodeInfo[] {
    return this.graph.all().map(node => nodeInfo(node, this.bitmaps));
  }

  /** Nothing of a guest's requests is in flight afterwards; the devices have been stopped. */
  async drain(): Promise<void> {
    await Promise.all([...this.drives].map(({ backend }) => backend.drain()));
  }

  async flush(): Promise<void> {
    await Promise.all(
      [...this.drives]
        .filter(({ backend }) => !backend.readOnly)
        .map(({ backend }) => backend.flush()),
    );
  }

  /** End of the VM: replication stops without failover, exports go, files are closed. */
  async close(): Promise<void> {
    await this.jobs.stop();
    await this.drain();
    for (const { backend } of this.drives.clear().reverse()) {
      const root = backend.detach();
      if (root) await this.graph.close(root);
    }
    if (this.nbd.address) await this.nbd.stop();
    for (const node of this.graph.all().reverse()) await this.graph.close(node);
  }

  /**
   * A drive or a node, as monitors call them. drive: what a job of it is called; a disk without an
   * id has the name of its node.
   */
  find(name: string): { node: BlockNode; drive?: string } {
    const drive = this.drives.find(name);
    if (drive) return { node: drive.backend.node, drive: name };
    const node = this.graph.find(name);
    if (!node) throw new VmError(`Cannot find device='${name}' nor node-name='${name}'`);
    return this.drives.over(node).some(({ backend }) => backend.id === '')
      ? { node, drive: name }
      : { node };
  }

  private mayReplace(from: BlockNode, job: string): void {
    this.pair.requireNoColo();
    const parents = this.graph.parentsOf(from).map(({ parent }) => parent);
    for (const parent of parents)
      if (!isAdopting(parent.driver))
        throw new VmError(
          `node '${from.name}' cannot be replaced: node '${parent.name}' ` +
            `(${parent.driver.format}) keeps it`,
        );
    const known = new Set([
      ...this.drives.over(from).map(({ backend }) => backend.label),
      ...parents.map(({ name }) => `node '${name}'`),
    ]);
    const others = from.userLabels.filter(
      label => !known.has(label) && !label.startsWith(`block job '${job}' `),
    );
    if (others.length > 0)
      throw new VmError(
        `node '${from.name}' cannot be replaced: it is also used by ${others.join(', ')}`,
      );
  }

  /** Both are at rest. What waits at the old one goes to the new one. */
  private replace(from: BlockNode, to: BlockNode, owned: boolean): boolean {
    let ownedOld = false;
    for (const drive of this.drives.over(from)) {
      drive.backend.setRoot(to);
      ownedOld ||= drive.owned;
      drive.owned = owned;
      drive.replicated = undefined;
    }
    for (const { parent, edge, owned: was } of this.graph.parentsOf(from)) {
      if (parent === to) continue;
      this.graph.setChild(parent, edge, to, owned);
      ownedOld ||= was;
    }
    // It stays below the new one: it goes with that.
    const kept = this.graph.parentsOf(from).find(({ parent }) => parent === to);
    if (kept) this.graph.setOwned(to, kept.edge, ownedOld);
    from.sendWaiting(to);
    return ownedOld && !kept;
  }

  private resolve(name: string): BlockNode {
    return this.drives.find(name)?.backend.node ?? this.graph.node(name);
  }

  private freshId(prefix: string): string {
    let n = 0;
    while (this.drives.find(`${prefix}${n}`)) n++;
    return `${prefix}${n}`;
  }
}

/** It was a replica, and nothing more will come of it. */
const isSpent = (node: BlockNode) => inRole('follower', node)?.spent ?? false;
