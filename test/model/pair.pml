/*
 * A pair with an arbiter: two hosts, their link, the arbiter's record, and what may go wrong.
 *
 * The states and events are those of src/colo/arbitration.ts; each change of a host's state is one
 * move(host, from, event, to), which a spec compares with that table. Time is abstract: a host
 * that is slow or paused just makes no step. Terms and branches are abstract too: a request knows
 * whether the record has changed since it was read (fresh), a replica whether its state is of the
 * record's branch (ours), a claim whether it has been written (written).
 *
 * Checked: assertions below (one side's output, nothing acknowledged is lost), and `goes_on`.
 * A macro E_... makes a deliberate error, which the checker must find.
 */

#ifndef EPOCHS
#define EPOCHS 3
#endif
/* So many misfortunes and orders, of whatever kind, in a run. */
#ifndef FAULTS
#define FAULTS 3
#endif

mtype:state = {
  candidate, returned, joining, standby, bidding, taking_over,
  alone, forming, confirming, leading, parting, handing_over, claiming, ordered, down
};

mtype:event = {
  pair_forms, offered, replica_whole, out_of_step, leave, peer_lost, peer_won, swap,
  won, lost, away, lease_over, operator, crash, came_back, own_record
};

/* What a request would make of the record. */
mtype:request = { none, set_in_step, set_alone, set_owner };
mtype:answer = { no_answer, applied, refused };

mtype:state st[2];
bool paused[2];
bool reach[2] = true;      /* the arbiter, by this host */
bool cut;                  /* the link between them */
bool barred[2];            /* an operator keeps this host off */

/* The record: its owner; the other one is the replica, and may be in step. */
byte rec_owner;
bool rec_in_step;

/* Requests on their way, and one that its host has given up waiting for. */
mtype:request pending[2] = none;
bool fresh[2];
mtype:request late[2] = none;
mtype:answer answer[2] = no_answer;
bool written[2];

/* Epochs: the state that a host has, what is on the wire, what the owner knows to be there. */
byte have[2];
bool ours[2];
byte offer;
byte ack;
byte acked;
bool lease;                /* a grant of the replica may still run on the owner's clock */
bool stopped_word;         /* the owner has said that nothing of it leaves any more */

/* What the world has seen: the newest epoch whose output left, and who opened its output last. */
byte emitted;
byte speaker;

byte faults;

#define OTHER(h) (1 - (h))
#define TALKS(s) (s == forming || s == confirming || s == leading || s == parting \
  || s == handing_over)
#define FOLLOWS(s) (s == joining || s == standby)
#define LIVE(h) (st[h] != down && !paused[h])
#define MUST_HEAR(s) (s == claiming || s == bidding || s == standby || s == leading || \
  s == confirming || s == parting || s == handing_over)
/* No sign of life from the peer of this conversation. */
#define SILENT(h) (cut || !LIVE(OTHER(h)) \
  || (TALKS(st[h]) && !FOLLOWS(st[OTHER(h)])) \
  || (FOLLOWS(st[h]) && !TALKS(st[OTHER(h)])))
#define ASKABLE(h) (reach[h] && pending[h] == none && answer[h] == no_answer)

/* Asked before each packet. */
#ifdef E_LEASE
#define LEASE_HOLDS true
#else
#define LEASE_HOLDS lease
#endif
/* Asked before a replica that has won opens its output. */
#ifdef E_OPEN
#define LEASE_OVER true
#else
#define LEASE_OVER (!lease || stopped_word)
#endif
/* Asked before a guest starts anew from the owner's disk: what this host granted before it crashed
   has run out. That it waits for a replica in step first is for the guest's connections only. */
#ifdef E_COLD
#define GRANTED_NOTHING true
#else
#define GRANTED_NOTHING (!lease)
#endif
/* A host that was down has only its disk, which may hold part of an epoch. */
#ifdef E_OLD
#define DISK_IN_STEP(h) rec_in_step
#else
#define DISK_IN_STEP(h) (rec_in_step && ours[h])
#endif
/* A planned swap: the owner shuts its output before it says so, */
#ifdef E_SWAP
#define LEAVES(s) (s == leading || s == parting || s == confirming || s == handing_over)
#else
#define LEAVES(s) (s == leading || s == parting || s == confirming)
#endif

/* A replica that lost its owner asks by itself. */
#ifdef E_STUCK
#define NOTICES false
#else
#define NOTICES true
#endif

inline move(h, from, event, to) {
  assert(st[h] == from);
  st[h] = to;
}

/* Output leaves this host: no other has opened its own since this one did. */
inline emit(h, epoch) {
  assert(speaker == h);
  emitted = (epoch > emitted -> epoch : emitted);
}

/* From here on this host's output leaves: what it runs has all that anybody was told. */
inline open_output(h) {
  assert(have[h] >= emitted);
  speaker = h;
  stopped_word = false;
}

/* What was asked is not waited for any more, and may still arrive. */
inline drop_request(h) {
  if
  :: pending[h] != none && fresh[h] -> late[h] = pending[h]
  :: else
  fi;
  pending[h] = none;
  fresh[h] = false;
  answer[h] = no_answer;
}

/* The guest here never runs again. Its disk stays what it is until it is replaced in a new pair. */
inline give_up(h) {
  written[h] = false;
  ours[h] = false;
  drop_request(h);
}

inline begin_claim(h) {
  drop_request(h);
  written[h] = false;
}

inline ask(h, what) {
  pending[h] = what;
  fresh[h] = true;
}

inline no_conversation() {
  offer = 0;
  ack = 0;
  acked = 0;
}

proctype host(byte h) {
  end: do
  /* --- a pair forms --- */
  :: atomic { LIVE(h) && st[h] == alone && st[OTHER(h)] == candidate && LIVE(OTHER(h)) && !cut ->
       move(h, alone, pair_forms, forming);
       move(OTHER(h), candidate, pair_forms, joining);
       have[OTHER(h)] = 0;
       drop_request(h);
       no_conversation();
       lease = false;
       stopped_word = false }
  /* From the first offer on its output waits. */
  :: atomic { LIVE(h) && st[h] == forming ->
       offer = have[h];
       begin_claim(h);
       move(h, forming, offered, confirming) }
  :: atomic { LIVE(h) && st[h] == joining && offer > 0 && !cut ->
       have[h] = offer;
       ours[h] = true;
       ack = offer;
       offer = 0;
       lease = true;
       move(h, joining, replica_whole, standby) }
  :: atomic { LIVE(h) && st[h] == confirming && ack > 0 && !cut ->
       acked = ack;
       ack = 0;
       move(h, confirming, replica_whole, confirming) }
  :: atomic { LIVE(h) && st[h] == confirming && acked > 0 && ASKABLE(h) ->
       if
       :: rec_owner != h -> give_up(h); move(h, confirming, lost, candidate)
       :: rec_owner == h && rec_in_step && written[h] -> move(h, confirming, won, leading)
       :: else -> ask(h, set_in_step)
       fi }
  :: atomic { LIVE(h) && st[h] == confirming && answer[h] == applied ->
       answer[h] = no_answer;
       move(h, confirming, won, leading) }

  /* --- normal running --- */
  :: atomic { LIVE(h) && (st[h] == alone || st[h] == ordered) && have[h] < EPOCHS ->
       have[h]++;
       emit(h, have[h]) }
  :: atomic { LIVE(h) &&
              (st[h] == leading || st[h] == parting || (st[h] == confirming && acked > 0)) &&
              have[h] < EPOCHS && offer == 0 && ack == 0 ->
       have[h]++;
       offer = have[h] }
  :: atomic { LIVE(h) && st[h] == standby && offer > 0 && !cut ->
       have[h] = offer;
       ack = offer;
       offer = 0;
       lease = true }
  :: atomic { LIVE(h) && (st[h] == leading || st[h] == parting) && ack > 0 && !cut ->
       acked = ack;
       ack = 0 }
  :: atomic { LIVE(h) && LEAVES(st[h]) && emitted < acked && LEASE_HOLDS ->
       emit(h, acked) }
#ifdef E_HOLD
  :: atomic { LIVE(h) && st[h] == claiming && emitted < have[h] -> emit(h, have[h]) }
#endif
#ifdef E_EARLY
  :: atomic { LIVE(h) && st[h] == leading && emitted < have[h] && lease -> emit(h, have[h]) }
#endif

  /* --- the peer is lost --- */
  :: atomic { LIVE(h) && st[h] == forming && SILENT(h) ->
       move(h, forming, peer_lost, alone) }
  :: atomic { LIVE(h) && st[h] == joining && SILENT(h) ->
       give_up(h);
       move(h, joining, peer_lost, candidate) }
  :: atomic { LIVE(h) && st[h] == confirming && SILENT(h) ->
       begin_claim(h);
       move(h, confirming, peer_lost, claiming) }
  :: atomic { LIVE(h) && st[h] == leading && SILENT(h) ->
       begin_claim(h);
       move(h, leading, peer_lost, claiming) }
  :: atomic { LIVE(h) && st[h] == parting && SILENT(h) ->
       begin_claim(h);
       move(h, parting, peer_lost, claiming) }
  /* Or it takes too long to bid. */
#ifdef E_BACK
  :: atomic { LIVE(h) && st[h] == handing_over ->
       open_output(h);
       move(h, handing_over, peer_lost, alone) }
#else
  :: atomic { LIVE(h) && st[h] == handing_over ->
       begin_claim(h);
       move(h, handing_over, peer_lost, claiming) }
#endif
  :: atomic { LIVE(h) && st[h] == standby && SILENT(h) && NOTICES ->
       begin_claim(h);
       move(h, standby, peer_lost, bidding) }

  /* --- the replica gives its right up: its disk or its link for disks fails --- */
  :: atomic { LIVE(h) && st[h] == leading && faults > 0 && !SILENT(h) && st[OTHER(h)] == standby ->
       faults--;
       begin_claim(h);
       move(h, leading, out_of_step, claiming) }
  :: atomic { LIVE(h) && st[h] == standby && (st[OTHER(h)] == claiming || st[OTHER(h)] == alone) &&
              LIVE(OTHER(h)) && !cut ->
       give_up(h);
       move(h, standby, out_of_step, candidate) }

  /* --- it leaves in order: all goes on until the record calls it out of step --- */
  :: atomic { LIVE(h) && st[h] == leading && faults > 0 && !SILENT(h) && st[OTHER(h)] == standby ->
       faults--;
       begin_claim(h);
       move(h, leading, leave, parting) }
  :: atomic { LIVE(h) && st[h] == parting && ASKABLE(h) ->
       if
       :: rec_owner != h -> give_up(h); move(h, parting, lost, candidate)
       :: rec_owner == h && written[h] -> open_output(h); move(h, parting, won, alone)
       :: rec_owner == h && !written[h] -> ask(h, set_alone)
       fi }
#ifdef E_LEAVE
  :: atomic { LIVE(h) && st[h] == parting -> open_output(h); move(h, parting, won, alone) }
#endif
  :: atomic { LIVE(h) && st[h] == parting && answer[h] == applied ->
       answer[h] = no_answer;
       open_output(h);
       move(h, parting, won, alone) }

  /* --- the arbiter is asked --- */
  :: atomic { LIVE(h) && st[h] == claiming && ASKABLE(h) ->
       if
       :: rec_owner != h ->
#ifdef E_LOSER
          open_output(h);
          move(h, claiming, lost, alone)
#else
          give_up(h);
          move(h, claiming, lost, candidate)
#endif
       :: rec_owner == h && written[h] ->
          open_output(h);
          move(h, claiming, won, alone)
#ifdef E_STALE
       :: rec_owner == h && !rec_in_step && !written[h] ->
          open_output(h);
          move(h, claiming, won, alone)
#endif
       :: rec_owner == h && !written[h] -> ask(h, set_alone)
       fi }
  :: atomic { LIVE(h) && st[h] == claiming && answer[h] == applied ->
       answer[h] = no_answer;
       open_output(h);
       move(h, claiming, won, alone) }
  :: atomic { LIVE(h) && st[h] == bidding && ASKABLE(h) ->
       if
       :: rec_owner == h && written[h] -> move(h, bidding, won, taking_over)
#ifdef E_STEP
       :: rec_owner != h -> ask(h, set_owner)
#else
       :: rec_owner != h && rec_in_step && ours[h] -> ask(h, set_owner)
       :: rec_owner != h && !(rec_in_step && ours[h]) ->
          give_up(h); move(h, bidding, lost, candidate)
#endif
       /* It won before it was down, and nobody has since. */
       :: rec_owner == h && !written[h] -> ask(h, set_alone)
       fi }
  :: atomic { LIVE(h) && st[h] == bidding && answer[h] == applied ->
       answer[h] = no_answer;
       move(h, bidding, won, taking_over) }
  :: atomic { LIVE(h) && answer[h] == refused -> answer[h] = no_answer }
  :: atomic { LIVE(h) && pending[h] != none && !reach[h] && late[h] == none ->
       drop_request(h);
       if
       :: st[h] == claiming -> move(h, claiming, away, claiming)
       :: st[h] == bidding -> move(h, bidding, away, bidding)
       :: st[h] == confirming -> move(h, confirming, away, confirming)
       :: st[h] == parting -> written[h] = false; move(h, parting, away, confirming)
       :: st[h] == ordered -> move(h, ordered, away, ordered)
       fi }

  /* --- the old owner is shut, by its word or by its lease --- */
  :: atomic { LIVE(h) && st[h] == taking_over && LEASE_OVER ->
       open_output(h);
       move(h, taking_over, lease_over, alone) }
  /* Whoever has won says so to a peer that it reaches. */
  :: atomic { LIVE(h) && (st[h] == taking_over || st[h] == alone) && LIVE(OTHER(h)) && !cut &&
              written[h] && rec_owner == h && MUST_HEAR(st[OTHER(h)]) ->
       if
       :: st[OTHER(h)] == claiming ->
          give_up(OTHER(h)); stopped_word = true;
          move(OTHER(h), claiming, peer_won, candidate)
       :: st[OTHER(h)] == leading ->
          give_up(OTHER(h)); stopped_word = true;
          move(OTHER(h), leading, peer_won, candidate)
       :: st[OTHER(h)] == parting ->
          give_up(OTHER(h)); stopped_word = true;
          move(OTHER(h), parting, peer_won, candidate)
       :: st[OTHER(h)] == confirming ->
          give_up(OTHER(h)); stopped_word = true;
          move(OTHER(h), confirming, peer_won, candidate)
       :: st[OTHER(h)] == handing_over ->
          give_up(OTHER(h));
          move(OTHER(h), handing_over, peer_won, candidate)
       :: st[OTHER(h)] == bidding ->
          give_up(OTHER(h));
          move(OTHER(h), bidding, peer_won, candidate)
       :: st[OTHER(h)] == standby ->
          give_up(OTHER(h));
          move(OTHER(h), standby, peer_won, candidate)
       fi }

  /* --- a planned swap: the owner's last epoch is there, and nothing of it leaves any more --- */
  :: atomic { LIVE(h) && st[h] == leading && faults > 0 && !SILENT(h) && offer == 0 && ack == 0 &&
              acked == have[h] && st[OTHER(h)] == standby ->
       faults--;
       move(h, leading, swap, handing_over) }
  :: atomic { LIVE(h) && st[h] == standby && st[OTHER(h)] == handing_over && LIVE(OTHER(h)) && !cut ->
       stopped_word = true;
       begin_claim(h);
       move(h, standby, swap, bidding) }

  /* --- an operator decides where the arbiter cannot be asked, and the other host stays off --- */
  :: atomic { LIVE(h) && st[h] == claiming && !reach[h] && st[OTHER(h)] == down && faults > 0 ->
       faults--;
       barred[OTHER(h)] = true;
       drop_request(h);
       open_output(h);
       move(h, claiming, operator, ordered) }
  :: atomic { LIVE(h) && st[h] == bidding && !reach[h] && st[OTHER(h)] == down && faults > 0 ->
       faults--;
       barred[OTHER(h)] = true;
       drop_request(h);
       open_output(h);
       move(h, bidding, operator, ordered) }
  :: atomic { LIVE(h) && st[h] == ordered && ASKABLE(h) ->
       if
       :: rec_owner == h && written[h] ->
          barred[OTHER(h)] = false;
          move(h, ordered, won, alone)
       :: else -> ask(h, set_owner)
       fi }
  :: atomic { LIVE(h) && st[h] == ordered && answer[h] == applied ->
       answer[h] = no_answer;
       barred[OTHER(h)] = false;
       move(h, ordered, won, alone) }

  /* --- a host is there again: its guest is gone, its disk is not --- */
  :: atomic { LIVE(h) && st[h] == returned && reach[h] && rec_owner != h && !DISK_IN_STEP(h) ->
       give_up(h);
       move(h, returned, lost, candidate) }
  /* The owner has not come for long: it may still, and then loses. */
  :: atomic { LIVE(h) && st[h] == returned && reach[h] && rec_owner != h && DISK_IN_STEP(h) ->
       begin_claim(h);
#ifdef E_OLD
       ours[h] = true;
#endif
       move(h, returned, peer_lost, bidding) }
  :: atomic { LIVE(h) && st[h] == returned && reach[h] && rec_owner == h &&
              GRANTED_NOTHING ->
       begin_claim(h);
       move(h, returned, own_record, claiming) }
  od
}

/* The record changes. */
inline change(h, what) {
  if
  :: what == set_in_step -> rec_in_step = true
  :: else ->
     /* A new branch: no state that another host holds is of it. */
     rec_owner = h;
     rec_in_step = false;
     ours[OTHER(h)] = false
  fi;
  /* What was read before is not fresh any more: a late request changes nothing. */
  fresh[0] = false;
  fresh[1] = false;
  late[0] = none;
  late[1] = none
}

inline answer_it() {
  if
  :: fresh[h] -> change(h, pending[h]); written[h] = true; answer[h] = applied
  :: else -> answer[h] = refused
  fi;
  pending[h] = none;
  fresh[h] = false;
  /* The answer is lost: its host asks again. */
  if
  :: faults > 0 -> faults--; answer[h] = no_answer
  :: true
  fi
}

proctype arbiter() {
  byte h;
  end: do
  :: atomic { reach[0] && pending[0] != none -> h = 0; answer_it(); h = 0 }
  :: atomic { reach[1] && pending[1] != none -> h = 1; answer_it(); h = 0 }
  :: atomic { late[0] != none -> change(0, late[0]) }
  :: atomic { late[1] != none -> change(1, late[1]) }
  od
}

/* Leases run out. */
proctype time() {
  end: do
  :: lease -> lease = false
  od
}

inline crash_moves() {
  if
  :: st[h] == candidate -> move(h, candidate, crash, down)
  :: st[h] == returned -> move(h, returned, crash, down)
  :: st[h] == joining -> move(h, joining, crash, down)
  :: st[h] == standby -> move(h, standby, crash, down)
  :: st[h] == bidding -> move(h, bidding, crash, down)
  :: st[h] == taking_over -> move(h, taking_over, crash, down)
  :: st[h] == alone -> move(h, alone, crash, down)
  :: st[h] == forming -> move(h, forming, crash, down)
  :: st[h] == confirming -> move(h, confirming, crash, down)
  :: st[h] == leading -> move(h, leading, crash, down)
  :: st[h] == parting -> move(h, parting, crash, down)
  :: st[h] == handing_over -> move(h, handing_over, crash, down)
  :: st[h] == claiming -> move(h, claiming, crash, down)
  :: st[h] == ordered -> move(h, ordered, crash, down)
  fi
}

/* Its memory is gone; its disk is not, and what it has asked may still arrive. */
inline crash_host() {
  drop_request(h);
  paused[h] = false;
  /* The disk of a replica may hold part of an epoch, and is of no use then. */
  if
  :: st[h] == standby -> ours[h] = false; have[h] = 0
  :: true
  fi;
  written[h] = false;
  crash_moves();
}

/* What goes wrong, each so many times. */
proctype world() {
  byte h;
  end: do
  :: atomic { faults > 0 && !cut -> faults--; cut = true }
  :: atomic { cut -> cut = false }
  :: atomic { faults > 0 -> faults--;
       if :: reach[0] = false :: reach[1] = false :: reach[0] = false; reach[1] = false fi }
  :: atomic { !reach[0] || !reach[1] -> reach[0] = true; reach[1] = true }
  :: atomic { faults > 0 -> faults--;
       if :: paused[0] = true :: paused[1] = true fi }
  :: atomic { paused[0] || paused[1] -> paused[0] = false; paused[1] = false }
  :: atomic { faults > 0 && (st[0] != down || st[1] != down) ->
       if
       :: st[0] != down -> h = 0
       :: st[1] != down -> h = 1
       fi;
       faults--;
       crash_host() }
  :: atomic { st[0] == down && !barred[0] -> move(0, down, came_back, returned) }
  :: atomic { st[1] == down && !barred[1] -> move(1, down, came_back, returned) }
  :: break
  od
}

#define WITH_RIGHT(h) (LIVE(h) && reach[h] && ( \
  (rec_owner == h && (st[h] == alone || TALKS(st[h]) || st[h] == claiming \
    || st[h] == bidding || st[h] == taking_over || st[h] == ordered || st[h] == returned)) \
  || (rec_owner != h && rec_in_step && ours[h] && \
    (st[h] == standby || st[h] == bidding || st[h] == returned))))
#define SERVES(h) (LIVE(h) && (st[h] == alone || st[h] == ordered || st[h] == forming \
  || ((st[h] == confirming || st[h] == leading || st[h] == parting) && !SILENT(h))))
#define SERVED (SERVES(0) || SERVES(1))

/* A host that has the right to the guest, lives and reaches the arbiter for long enough: it serves. */
#ifdef GOES_ON
ltl goes_on { ((<> [] WITH_RIGHT(0)) || (<> [] WITH_RIGHT(1))) -> ([] <> SERVED) }
#endif

init {
  atomic {
    st[0] = alone;
    st[1] = candidate;
    have[0] = 1;
    faults = FAULTS;
    run host(0);
    run host(1);
    run arbiter();
    run time();
    run world();
  }
}
