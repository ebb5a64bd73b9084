"""The parts of the simulator; ``teleread.signal.ecg.simulate`` is its door.

``conditions`` says what there is, ``heart`` draws one heart, ``rhythms`` and ``blocks`` write the score of its beats,
``forms`` and ``waves`` give them shape, ``play`` turns all that into a dipole and its truth, ``electrodes`` into leads,
``noise``, ``faults`` and ``contacts`` spoil them, through the ``montage`` of any recording.
"""
