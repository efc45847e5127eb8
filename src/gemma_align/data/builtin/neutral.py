"""Plain prose on many subjects, written for this project: text that no task trains on.

How much likelier or unlikelier a model finds it after training says what the training cost elsewhere. Each paragraph
stands alone. The words are the project's own, so no published text is scored that a model knows by heart.
"""

PARAGRAPHS = tuple(
    " ".join(paragraph.split())
    for paragraph in """
The harbour froze only twice in the century, and both times the town treated it as a holiday. Children tied rags over
their shoes and walked out to the breakwater, where the ice was grey and full of weed. Older people stayed near the
steps. They remembered that the current ran fast under the bridge, and that the ice there was never as thick as it
looked from the quay.

A kettle takes longer to boil on a mountain than in a valley only if the stove is weaker there. The water itself boils
sooner, because the air above it presses less. What takes longer is cooking: rice that sits in water at ninety degrees
needs more time than rice at a hundred. Cooks who move to high places learn this in the first week, usually with beans.

To sharpen a chisel, begin with the flat side. Lay it on the stone and rub until the scratches near the edge all run
the same way. Then turn the tool over, find the bevel by feel, and draw it towards you with even pressure. A thin burr
appears along the edge. Remove it with one light stroke on the flat side. If the edge still shines when you hold it to
the lamp, it is not yet sharp.

The committee met on the second Thursday of each month in a room above the library. Its business was the footpaths:
which stiles had rotted, which farmers had locked a gate, whether the signpost at the ford could be mended or had to be
replaced. Minutes were kept in a green ledger. In forty years the longest item of business had been a goose.

Sound travels faster in water than in air, and faster still in steel. A worker who puts an ear to a railway line can
hear a train long before it comes into sight. The reason is stiffness. In a stiff material each small part pushes its
neighbour almost at once, so the disturbance moves on quickly, while in air the parts are far apart and give way easily.

Grandmother kept three kinds of string in the kitchen drawer. The first was for parcels, the second for tying up beans,
and the third was too short for anything but could not be thrown away. When we cleared the house we found, rolled in a
tobacco tin, a metre of silver ribbon with a label in her writing that said it had come with a gift from Lisbon.

Most deserts are not made of sand. Stone and gravel cover far more ground than dunes do, and many deserts are cold for
half of the year. What they share is a lack of water: less falls than the sun could dry up. Plants there live by two
plans. Some store what little they get, and others wait as seeds, for years if need be, until a storm wakes them.

The night train left at ten minutes past eleven and arrived, if nothing went wrong, in time for breakfast. Something
usually went wrong. Once it was snow, once a cow, and once the driver had simply stopped to look at a comet. The guard
walked through the carriages to tell everybody, and one by one the passengers climbed down in their coats to see it too.

Bread rises because yeast gives off gas and the dough holds it. Kneading lines up the proteins of the flour into sheets
that stretch without tearing. Salt makes these sheets tighter and slows the yeast down, so a loaf made without salt
rises fast, spreads sideways and tastes of very little. A cold night in the larder does the opposite, and improves it.

A map of the coast is never finished. The sea takes a little here and puts a little there, and each survey shows a
different line. Measured with a long ruler the shore is short; measured with a small one it grows, because every bay
has smaller bays inside. Sailors do not mind. What they want from a chart is the depth, and where the rocks are.

The violin on the wall had belonged to a clockmaker. He played it badly but repaired it well, and when the neck came
loose for the third time he replaced it with a piece of pear wood from his own garden. Musicians who tried it said the
tone was small and sweet. None of them wanted to buy it, and he would not have sold it to them.

In chess the knight is worth more in a crowded position and the bishop in an open one. Beginners learn this as a rule
and soon find exceptions. A knight on the edge of the board controls only a few squares, and a bishop behind its own
pawns controls none. The better rule is to count what a piece can reach, now and after the next exchange.

When the river was straightened, the engineers promised that floods would end. For twenty years they seemed to be
right. But the faster water cut into its bed, the wells in the villages fell, and the flood that finally came reached
the city in one day instead of three. Now some of the old bends are being dug again, at great expense.

The beekeeper moved slowly and never wore gloves. Gloves, she said, make the hands stupid, and a stupid hand crushes
bees. She lifted each frame straight up and read it as others read a newspaper: here the young ones, there the stores,
in the corner a cell that was longer than the rest, which meant that the hive was thinking about a new queen.

Glass is made mainly of sand, but sand alone melts only at a very high heat. Soda lowers the melting point, and lime
keeps the result from dissolving in rain. The green tint of old bottles comes from iron in the sand. Makers used to add
a pinch of manganese to hide it, and panes from that time slowly turn violet where the sun reaches them.

He had meant to read one chapter. At two in the morning the lamp flickered, and he noticed that the fire had gone out,
that his tea was untouched and cold, and that the cat, who disliked being alone, had given up waiting and fallen asleep
on his hat. He looked at how many pages were left, and put another log on the ashes.

Taxes on windows were once common. They were easy to collect, since an officer could count the windows from the street,
and they fell more heavily on large houses than on small ones. But people bricked up what they did not need, and the
poor, who lived many to a building, were left in the dark. A tax changes what it measures.

The swift spends most of its life in the air. It eats there, drinks from the surface of ponds in passing, and even
sleeps on the wing, rising at dusk to great heights and drifting until morning. Only the nest brings it down. A young
bird that leaves the eaves in July may not touch anything solid again for two or three years.

To find north without a compass, wait for a clear night and look for the star about which the others turn. Or push a
stick into the ground and mark the end of its shadow every half hour: the shortest shadow points along the meridian.
Moss on trees is a poor guide. It grows where it is damp, which in a valley may be on any side at all.

The old theatre had a machine for thunder. Cannon balls were let down a wooden channel above the ceiling, over steps of
different heights, so that they rolled and dropped and rolled again. On the opening night of a comedy the gate was left
open by mistake, and the lovers made up their quarrel in a storm that nobody in the play could explain.

Soil is partly alive. A spoonful holds more small creatures than there are people on the earth, and their work is to
take apart what has died. Roots feed them with sugar and receive minerals in exchange. When a field is ploughed too
often this trade breaks down, and the farmer has to carry in from outside what the soil used to provide.

The first printed timetables caused more arguments than they settled. Every town kept its own noon, so a train could
arrive, by the clock of the place, before it had left. Station masters carried two watches. When a single time was at
last agreed upon, one bishop declared that no railway would tell him when the sun stood over his cathedral.

A good knot holds under load, can be untied afterwards, and is easy to check by eye. Few knots have all three virtues.
The bowline does, which is why it is taught first. Ropes made of modern fibres are slippery, though, and knots that were
safe in hemp may creep in them, so climbers tie off the loose end with a second knot.

She counted the lighthouses from the deck: one long flash, then two short, then one that was red. Each had its own
rhythm, so that a ship would know it in the dark. Her father had kept the last of them. He used to say that the work
consisted of cleaning a lamp every day in order not to be noticed, and that most good work was of this kind.
""".strip().split("\n\n")
)
