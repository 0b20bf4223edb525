/**
 * All nodes of a VM, by name. Builds them from specs, closes them when the last user is gone. A
 * node that was made inline belongs to its parent; one that was named stays until it is deleted.
 */
import { VmError } from '../../base/errors.js';
import type { Events } from '../../base/events.js';
import type { Host } from '../../host/ports.js';
import type { QmpEvents } from '../../qapi/types.js';
import { type BlockDriver, isOverlay } from '../contract/driver.js';
import { BlkdebugDriver } from '../drivers/blkdebug.js';
import { FileDriver, type ImageHost } from '../drivers/file.js';
import { MemoryDriver } from '../drivers/memory.js';
import { openNbd } from '../drivers/nbd.js';
import { Qcow2Driver } from '../drivers/qcow2/driver.js';
import { readHeader } from '../drivers/qcow2/image.js';
import { isQcow2 } from '../drivers/qcow2/header.js';
import { QuorumDriver } from '../drivers/quorum.js';
import { RawDriver } from '../drivers/raw.js';
import { ReplicationPrimary } from '../drivers/replication/primary.js';
import { ReplicationSecondary } from '../drivers/replication/secondary.js';
import { backingOf } from './backing.js';
import { defaultForwardLimits } from '../drivers/replication/forward-queue.js';
import { type CredentialStore, noCredentials } from '../../host/credentials.js';
import { BlockNode, isAdopting, type NodePolicy, protocolOf } from '../contract/node.js';
import { inRole } from '../contract/roles.js';
import { DEFAULT_OVERLAY_BYTES, type NodeSource, type NodeSpec } from '../options/options.js';

export type BlockHost = Pick<Host, 'clock' | 'files' | 'sockets'> & ImageHost;
type SpecOf<D extends NodeSpec['driver']> = Extract<NodeSpec, { driver: D }>;

interface Edge {
  child: BlockNode;
  /** Made for this parent, so closed with it. */
  owned: boolean;
  release: () => void;
}

export class BlockGraph {
  private readonly nodes = new Map<string, BlockNode>();
  private readonly edges = new Map<BlockNode, Map<string, Edge>>();
  private autoName = 0;
  /** A node or drive by name; set by the layer, which knows the drives. */
  resolve: (name: string) => BlockNode = name => this.node(name);
  /** Where the tls-creds objects are. */
  credentials: CredentialStore = noCredentials;
  /** At a failover the exports of this node drop their clients. */
  onTakeover: (disk: BlockNode) => Promise<void> = () => Promise.resolve();

  /** Images that are opened for writing are another process's until activate(). */
  opensInactive = false;

  /**
   * A secondary disk begins or stops to follow one primary: in between, its exports let one client
   * write.
   */
  onFollow: (disk: BlockNode, follows: boolean) => void = () => undefined;

  constructor(
    private readonly host: BlockHost,
    private readonly events?: Events<QmpEvents>,
  ) {}

  find(name: string): BlockNode | undefined {
    return this.nodes.get(name);
  }

  node(name: string): BlockNode {
    const node = this.nodes.get(name);
    if (!node) throw new VmError(`there is no node or drive '${name}'`);
    return node;
  }

  all(): BlockNode[] {
    return [...this.nodes.values()];
  }

  /** reference: what the node is called in events, if not by its own name. All or nothing. */
  async build(source: NodeSource, reference?: string): Promise<BlockNode> {
    if ('reference' in source) return this.resolve(source.reference);
    const name = source.nodeName ?? this.freshName();
    if (this.nodes.has(name)) throw new VmError(`node name '${name}' is in use already`);
    const children: Record<string, { node: BlockNode; owned: boolean }> = {};
    const child = async (edge: string, from: NodeSource) => {
      const node = await this.build(from);
      children[edge] = { node, owned: !('reference' in from) };
      return node;
    };
    let driver: BlockDriver | undefined;
    try {
      driver = await this.open(source, name, reference ?? name, child);
      return this.insert(name, driver, children, source.policy);
    } catch (error) {
      await driver?.close().catch(() => undefined);
      for (const { node, owned } of Object.values(children).reverse())
        if (owned) await this.close(node);
      throw error;
    }
  }

  /** One child more for a quorum (x-blockdev-change). Returns the name of the edge. */
  async addChild(parent: BlockNode, child: BlockNode): Promise<string> {
    const quorum = inRole('quorum', parent);
    if (!quorum)
      throw new VmError(
        `node '${parent.name}' (${parent.driver.format}) takes no further children`,
      );
    if (child.inUse)
      throw new VmError(
        `node '${child.name}' is in use already, by ${child.userLabels.join(', ')}`,
      );
    requireBootable(child);
    const release = child.attach({ label: `node '${parent.name}'`, write: !child.readOnly });
    try {
      const edge = await quorum.addChild(child);
      this.edges.get(parent)!.set(edge, { child, owned: false, release });
      return edge;
    } catch (error) {
      release();
      throw error;
    }
  }

  /** The child is a free node afterwards. */
  async removeChild(parent: BlockNode, edge: string): Promise<void> {
    const quorum = inRole('quorum', parent);
    if (!quorum)
      throw new VmError(`node '${parent.name}' (${parent.driver.format}) gives no child away`);
    if (!parent.children.has(edge))
      throw new VmError(`node '${parent.name}' has no child '${edge}'`);
    await quorum.removeChild(edge);
    this.edges.get(parent)!.get(edge)!.release();
    this.edges.get(parent)!.delete(edge);
  }

  /** Where a node hangs. owned: it was made for that parent. */
  parentsOf(node: BlockNode): { parent: BlockNode; edge: string; owned: boolean }[] {
    const found: { parent: BlockNode; edge: string; owned: boolean }[] = [];
    for (const [parent, edges] of this.edges)
      for (const [edge, { child, owned }] of edges)
        if (child === node) found.push({ parent, edge, owned });
    return found;
  }

  /**
   * Another child, or none, on an edge that is there; parent and children are at rest. The old one
   * is a free node afterwards.
   */
  setChild(parent: BlockNode, edge: string, child: BlockNode | undefined, owned: boolean): void {
    const edges = this.edges.get(parent)!;
    const old = edges.get(edge)!;
    const { driver } = parent;
    if (!isAdopting(driver))
      throw new VmError(`node '${parent.name}' (${driver.format}) keeps its child '${edge}'`);
    const release = child?.attach({
      label: `node '${parent.name}'`,
      write: edge !== 'backing' && !parent.readOnly && !child.readOnly,
    });
    old.release();
    if (child) edges.set(edge, { child, owned, release: release! });
    else edges.delete(edge);
    driver.replaceChild(edge, child);
    // A quorum's children are the node's own map.
    if (driver.role === 'quorum') return;
    if (child) (parent.children as Map<string, BlockNode>).set(edge, child);
    else (parent.children as Map<string, BlockNode>).delete(edge);
  }

  /** The child goes with its parent, or does not. */
  setOwned(parent: BlockNode, edge: string, owned: boolean): void {
    this.edges.get(parent)!.get(edge)!.owned = owned;
  }

  /**
   * From reading to writing or back, with what is below it on its `file` edge. The node is at rest.
   */
  async reopen(node: BlockNode, readOnly: boolean): Promise<void> {
    if (node.readOnly === readOnly) return;
    const { driver } = node;
    if (!driver.reopen)
      throw new VmError(
        `node '${node.name}' (${driver.format}) stays ` +
          `${node.readOnly ? 'read-only' : 'writable'} once it is open`,
      );
    const edge = this.edges.get(node)?.get('file');
    if (readOnly) await driver.reopen(true);
    if (edge) {
      edge.release();
      await this.reopen(edge.child, readOnly).finally(() => {
        edge.release = edge.child.attach({
          label: `node '${node.name}'`,
          write: !edge.child.readOnly,
        });
      });
    }
    if (!readOnly) await driver.reopen(false);
  }

  /** What is below the node is ours to write. VmError: another process has an image of it. */
  async activate(node: BlockNode): Promise<void> {
    for (const child of node.children.values()) await this.activate(child);
    await node.driver.activate?.();
  }

  /** Closes the node and what was made for it. A node in use stays. */
  async close(node: BlockNode): Promise<void> {
    if (node.inUse || this.nodes.get(node.name) !== node) return;
    this.nodes.delete(node.name);
    const edges = this.edges.get(node)!;
    this.edges.delete(node);
    try {
      await node.close();
    } finally {
      for (const { child, owned, release } of edges.values()) {
        release();
        if (owned) await this.close(child);
      }
    }
  }

  private insert(
    name: string,
    driver: BlockDriver,
    children: Record<string, { node: BlockNode; owned: boolean }>,
    policy?: NodePolicy,
  ): BlockNode {
    const edges = new Map<string, Edge>();
    try {
      for (const [edge, { node: child, owned }] of Object.entries(children)) {
        const write = edge !== 'backing' && !driver.readOnly && !child.readOnly;
        edges.set(edge, {
          child,
          owned,
          release: child.attach({ label: `node '${name}'`, write }),
        });
      }
    } catch (error) {
      for (const { release } of edges.values()) release();
      throw error;
    }
    const below =
      inRole('quorum', { driver })?.children ??
      new Map(Object.entries(children).map(([edge, { node }]) => [edge, node]));
    const node = new BlockNode(name, driver, below, policy);
    this.nodes.set(name, node);
    this.edges.set(node, edges);
    return node;
  }

  private async open(
    spec: NodeSpec,
    name: string,
    reference: string,
    child: (edge: string, from: NodeSource) => Promise<BlockNode>,
  ): Promise<BlockDriver> {
    switch (spec.driver) {
      case 'file':
        return FileDriver.open(this.host, { ...spec, inactive: this.opensInactive });
      case 'raw':
        return this.openRaw(spec, await child('file', spec.file));
      case 'qcow2':
        return this.openQcow2(spec, reference, name, child);
      case 'memory':
        return new MemoryDriver(spec, spec.backing && (await child('backing', spec.backing)));
      case 'nbd':
        return openNbd(this.host, spec, this.credentials, `node '${name}'`);
      case 'blkdebug': {
        const image = await child('image', spec.image);
        return new BlkdebugDriver(
          image,
          spec.rules,
          this.host.clock,
          spec.readOnly || image.readOnly,
        );
      }
      case 'quorum': {
        const children = new Map<string, BlockNode>();
        for (const { name: edge, source } of spec.children)
          children.set(edge, await child(edge, source));
        for (const node of children.values()) requireBootable(node);
        const { readPattern, voteThreshold, blkverify, rewriteCorrupted } = spec;
        return new QuorumDriver(
          {
            name: reference,
            readPattern,
            voteThreshold,
            blkverify,
            rewriteCorrupted,
            events: this.events,
          },
          children,
        );
      }
      case 'replication':
        if (spec.mode === 'secondary') return this.openSecondary(spec, reference, child);
        return this.openPrimary(spec, await child('file', spec.file));
    }
  }

  private openPrimary(
    spec: SpecOf<'replication'> & { mode: 'primary' },
    replica: BlockNode,
  ): ReplicationPrimary {
    if (replica.readOnly)
      throw new VmError(`the replica '${replica.name}' is read-only: export it with -w`);
    const limits = {
      ...defaultForwardLimits,
      requests: spec.maxRequests ?? defaultForwardLimits.requests,
      bytes: spec.maxBytes ?? defaultForwardLimits.bytes,
    };
    return new ReplicationPrimary(replica, { limits, assumeInSync: spec.assumeInSync });
  }

  /** Without `driver=` or `format=` an image of another format must not be taken for a raw one. */
  private async openRaw(spec: SpecOf<'raw'>, file: BlockNode): Promise<RawDriver> {
    if (spec.probed && file.length >= 4) {
      const magic = await file.pread(0, 4);
      if (isQcow2(magic))
        throw new VmError(
          `the image of node '${file.name}' looks like qcow2: say format=qcow2; format=raw ` +
            'takes it as it is',
        );
    }
    return new RawDriver(file, spec.readOnly);
  }

  /** The backing node: as given, else as the image says, with everything below it. */
  private async openQcow2(
    spec: SpecOf<'qcow2'>,
    reference: string,
    name: string,
    child: (edge: string, from: NodeSource) => Promise<BlockNode>,
  ): Promise<Qcow2Driver> {
    const file = await child('file', spec.file);
    const header = await readHeader(file);
    const from = spec.backing ?? backingOf(header, file, spec.depth ?? 0);
    const backing =
      from === undefined || from === 'none' ? undefined : await child('backing', from);
    const onCorrupt = (msg: string) =>
      this.events?.emit('BLOCK_IMAGE_CORRUPTED', {
        device: reference === name ? '' : reference,
        'node-name': name,
        msg,
        fatal: true,
      });
    const inactive = protocolOf(file).driver.active === false;
    return Qcow2Driver.open(file, header, {
      readOnly: spec.readOnly,
      backing,
      onCorrupt,
      inactive,
    });
  }

  private async openSecondary(
    spec: SpecOf<'replication'> & { mode: 'secondary' },
    reference: string,
    child: (edge: string, from: NodeSource) => Promise<BlockNode>,
  ): Promise<ReplicationSecondary> {
    const active = await child('file', this.withOverlays(spec.file));
    const hidden = active.children.get('backing');
    const disk = hidden?.children.get('backing');
    const [activeDriver, hiddenDriver] = [active.driver, hidden?.driver]
      .filter(driver => driver !== undefined)
      .filter(isOverlay);
    if (!hidden || !disk || !activeDriver || !hiddenDriver) {
      throw new VmError(
        `replication '${reference}': active disk '${active.name}' needs a hidden disk below ` +
          'it, and that a secondary disk',
      );
    }
    for (const node of [active, hidden, disk])
      if (node.readOnly)
        throw new VmError(`replication '${reference}': node '${node.name}' is read-only`);
    await this.activate(active);
    const driver = new ReplicationSecondary({
      name: reference,
      active: activeDriver,
      hidden: hiddenDriver,
      view: active,
      disk,
      assumeInSync: spec.assumeInSync,
      topId: spec.topId,
    });
    driver.onTakeover = taken => this.onTakeover(taken);
    driver.onFollow = (followed, follows) => this.onFollow(followed, follows);
    return driver;
  }

  /** active over hidden over disk, with the overlays that were left out. */
  private withOverlays(source: NodeSource): NodeSource {
    if (!this.isOverlay(source))
      return overlay(overlay(source, DEFAULT_OVERLAY_BYTES), DEFAULT_OVERLAY_BYTES);
    if ('reference' in source || (source.driver !== 'memory' && source.driver !== 'qcow2'))
      return source;
    if (!source.backing || source.backing === 'none') return source;
    if (this.isOverlay(source.backing)) return { ...source, backing: writable(source.backing) };
    return {
      ...source,
      backing: overlay(
        source.backing,
        source.driver === 'memory' ? source.maxBytes : DEFAULT_OVERLAY_BYTES,
      ),
    };
  }

  private isOverlay(source: NodeSource): boolean {
    if ('reference' in source) {
      const node = this.resolve(source.reference);
      return isOverlay(node.driver) && node.children.has('backing');
    }
    return (
      (source.driver === 'memory' && source.backing !== undefined) || source.driver === 'qcow2'
    );
  }

  private freshName(): string {
    do this.autoName++;
    while (this.nodes.has(`#block${this.autoName}`));
    return `#block${this.autoName}`;
  }
}

/** A backing node is opened for reading, but a hidden disk is written by the replication. */
const writable = (source: NodeSource): NodeSource => {
  if ('reference' in source) return source;
  if (source.driver !== 'qcow2' || 'reference' in source.file)
    return { ...source, readOnly: false };
  return { ...source, readOnly: false, file: { ...source.file, readOnly: false } };
};

const overlay = (backing: NodeSource, maxBytes: number): NodeSpec => ({
  driver: 'memory',
  readOnly: false,
  maxBytes,
  backing,
});

/**
 * Rule 7: an image that is not whole, or another's copy, is no boot disk. Under a secondary
 * replication node it is in good hands.
 */
export function requireBootable(node: BlockNode): void {
  if (inRole('secondary', node)) return;
  const obstacle = inRole('file', node)?.record.obstacle;
  if (obstacle) throw obstacle;
  for (const child of node.children.values()) requireBootable(child);
}
