"""Word lists of the training text. Everything the generator can say as a fact comes from here or is invented from syllables."""

NAMES = """
Ada Adam Agnes Aiko Alba Alice Amara Amelie Amir Ana Anders Andrea Anika Anna Anton Arjun Arlo Astrid Aya Bao Basil Beatriz Bela Ben Bianca
Bilal Birgit Boris Bruno Camila Carla Carlos Casper Cecilia Celia Chen Chiara Chloe Clara Claude Connor Cora Dalia Damian Dana Daria David
Deniz Diego Dina Dmitri Dora Edgar Edith Eduardo Ekaterina Elena Elias Elif Elin Eliza Ella Elsa Emil Emilia Emma Enzo Erik Erin Esther Eva
Evelyn Fabian Farah Fatima Felix Fiona Flora Florian Frank Freya Frida Gabriel George Georgia Gloria Grace Greta Gustav Hadi Hana Hannah Hans
Harriet Hassan Hector Heidi Helena Henrik Hilda Hiro Hugo Ibrahim Ida Igor Imani Ines Ingrid Irene Iris Isaac Isabel Ivan Ivy Jack Jacob Jana
Jasmine Jasper Javier Joanna Joel Johan Jonas Jorge Judith Julia Julian Juno Kai Karim Karin Kaspar Katya Keiko Kenji Kiran Klara Kofi Kurt
Laila Lara Lars Laura Layla Lea Leila Lena Leo Leonie Liam Lila Lina Linus Lisa Livia Lorenzo Lotte Louis Luca Lucia Luis Luna Lydia Maeve
Magnus Maja Malik Marco Margot Maria Marina Marta Martin Matilda Mateo Maya Mei Melina Mia Miguel Mila Milan Mina Mira Miriam Mohamed Mona
Nadia Naomi Natalia Nelson Nia Nico Niklas Nils Nina Noah Noor Nora Octavia Odette Olga Olive Oliver Omar Orla Oscar Otis Otto Pablo Paloma
Paul Paula Pearl Pedro Petra Philip Pia Pilar Priya Quentin Rafael Rahul Ramona Rashid Raul Rebecca Rene Rhea Ricardo Rita Robin Rolf Rosa
Rosalind Ruby Rufus Ruth Sabine Salma Samir Samuel Sana Sandra Sara Saskia Selma Serena Sigrid Silas Simon Sofia Sonja Stefan Stella Sven
Sylvia Tamara Tara Tariq Theo Theresa Thomas Tilda Tim Tobias Toni Tova Uma Ursula Vera Victor Viktoria Viola Walter Wanda Wei Wendy Willa
William Xenia Yara Yasmin Yuki Yusuf Zara Zelda Zoe José Zoë Renée Søren Björn Jürgen Łucja Márta Chloé Noël
""".split()

# Names that heroes and friends of stories bear more often than others, so that the most likely story has two different ones.
HEROES = """Mira Tom Anna Ben Clara Oskar Lily Max Rosie Finn Emma Jonah Ella Sam Nora Hugo Maya Oscar Ada Theo Ida Jack Alma Erwin""".split()
FRIENDS = """Pip Bramble Moss Tansy Button Clover Biscuit Pebble Hazel Rufus Sparky Willow Mittens Nutmeg Patch Smoky Ginger Fern Poppy Basil""".split()

CITIES = [c.replace("_", " ") for c in """
Aachen Aarhus Accra Adelaide Agadir Alicante Almaty Amman Amsterdam Ankara Antwerp Arequipa Athens Auckland Austin Baku Bali Bangkok Barcelona
Basel Bath Beirut Belfast Bergen Berlin Bilbao Bogota Bologna Bonn Bordeaux Boston Brasilia Bremen Brighton Brisbane Bristol Brno Bruges Brussels
Bucharest Budapest Cairo Calgary Cambridge Canberra Cardiff Casablanca Chennai Chicago Cologne Copenhagen Cork Cusco Dakar Dallas Delhi Denver
Detroit Dhaka Doha Dresden Dubai Dublin Dundee Durban Edinburgh Essen Faro Florence Frankfurt Fukuoka Galway Geneva Genoa Ghent Glasgow Gothenburg
Granada Graz Grenoble Haifa Halifax Hamburg Hanoi Harare Havana Helsinki Hobart Houston Innsbruck Istanbul Izmir Jakarta Kampala Karachi Kathmandu
Kyiv Kigali Kingston Krakow Kyoto Lagos Lahore Leeds Leipzig Lille Lima Linz Lisbon Liverpool Ljubljana London Lucerne Lusaka Lyon Madrid Malaga
Manila Maputo Marseille Melbourne Miami Milan Minsk Mombasa Montreal Montevideo Mumbai Munich Muscat Nagoya Nairobi Nantes Naples Nashville Nice
Odense Oporto Osaka Oslo Ottawa Oulu Oxford Palermo Panama Paris Perth Porto Prague Pretoria Quito Rabat Reykjavik Riga Rome Rotterdam Salzburg
Santiago Sapporo Sarajevo Seattle Seoul Seville Sheffield Sofia Split Stockholm Stuttgart Sydney Tallinn Tampere Tbilisi Tokyo Toledo Toronto
Trieste Tromso Tunis Turin Turku Utrecht Valencia Vancouver Venice Verona Vienna Vilnius Warsaw Wellington Windhoek Yerevan York Zagreb Zanzibar
Cape_Town Hong_Kong New_York San_Diego Buenos_Aires Las_Palmas Santa_Cruz São_Paulo Malmö Zürich Łódź Córdoba Tórshavn Besançon
""".split()]

TOWN_HEADS = """Amber Ash Black Bramble Brook Clear Cold Crow Deer Dun East Elm Fair Fern Fox Glen Gold Gray Green Hazel High Iron Kings Lake
Lark Long Maple Marl May Mill Moss New North Oak Old Otter Pine Raven Red Rose Salt Sand Silver South Stone Storm Sun Swan Thorn West White Wild
Willow Wind Winter Wolf""".split()
TOWN_TAILS = """bay borough bridge brook burn bury by castle cliff dale den fell field ford gate ham harbour haven hill holm hurst land ley marsh
mere minster moor mouth pool port ridge shore side stead stow ton vale ville wick wood worth""".split()

COLOURS = """red blue green yellow orange purple pink brown black white grey violet indigo turquoise teal crimson scarlet maroon navy silver golden
beige cream ivory lilac lavender olive lime mint coral peach amber bronze copper emerald magenta cyan mustard ruby sapphire jade plum""".split()

FOODS = [f.replace("_", " ") for f in """
pizza pasta rice soup bread cheese pancakes waffles dumplings noodles sushi curry tacos burritos lasagna risotto paella falafel hummus couscous
ramen pho kebab goulash stew chili porridge salad sandwiches omelette toast potatoes carrots spinach broccoli mushrooms tomatoes cucumbers pumpkin
beans lentils peas corn olives almonds walnuts apples pears bananas cherries grapes lemons mangoes melons peaches plums strawberries raspberries
blueberries figs dates apricots pineapple coconut chocolate ice_cream honey_cake apple_pie cheesecake cookies muffins doughnuts gingerbread
marzipan fudge pudding custard popcorn pretzels croissants bagels baguettes crackers gnocchi ravioli polenta quiche fondue moussaka pierogi
borscht tofu tempeh kimchi salmon tuna shrimp crab mussels sardines roast_chicken meatballs sausages fried_rice onion_soup garlic_bread""".split()]

DRINKS = [d.replace("_", " ") for d in """water milk tea coffee cocoa lemonade cider juice orange_juice apple_juice green_tea black_tea mint_tea
ginger_ale iced_tea hot_chocolate espresso cappuccino buttermilk kefir tomato_juice grape_juice soda ginger_tea rose_water oat_milk coconut_water
carrot_juice cherry_juice chai matcha""".split()]

JOBS = """baker teacher doctor nurse farmer painter writer singer dancer pilot sailor carpenter plumber electrician gardener cook waiter tailor
cobbler butcher fisherman librarian lawyer judge engineer architect chemist physicist biologist astronomer geologist historian journalist editor
photographer actor director musician composer violinist drummer potter sculptor weaver jeweller blacksmith locksmith watchmaker mechanic welder
mason roofer glazier miner firefighter policeman detective soldier diver lifeguard ranger forester beekeeper shepherd vet dentist surgeon
pharmacist psychologist translator interpreter secretary accountant banker cashier broker programmer designer translator postman courier driver
conductor captain navigator cartographer surveyor magician clown acrobat juggler florist hairdresser butler chef brewer miller""".split()

ANIMALS = """cat dog rabbit hamster parrot turtle goldfish pony horse goat sheep duck goose hen rooster donkey pig cow ferret hedgehog canary
budgie lizard gecko snake frog toad newt mouse rat squirrel pigeon owl raven falcon llama alpaca peacock swan crab snail spider tortoise
chinchilla cockatoo""".split()

BEASTS = """fox bear wolf rabbit mouse owl badger otter hedgehog squirrel frog turtle deer beaver raven goose duck cat dog pony goat lamb lynx mole
robin sparrow heron seal penguin""".split()

INSTRUMENTS = """piano guitar violin cello flute clarinet trumpet trombone tuba harp drums saxophone oboe bassoon accordion banjo mandolin ukulele
harmonica organ viola bagpipes lute sitar xylophone recorder fiddle marimba""".split()

SPORTS = """football tennis basketball volleyball handball hockey rugby cricket baseball golf badminton swimming rowing sailing surfing skiing
skating climbing running cycling fencing boxing wrestling judo karate archery bowling curling hiking diving yoga gymnastics chess""".split()

PLANTS = """rose tulip daisy lily orchid sunflower poppy violet iris peony daffodil carnation jasmine lavender fern cactus ivy moss bamboo oak
birch maple willow pine beech chestnut elm linden cherry apple pear palm cypress cedar hazel juniper""".split()

OBJECTS = """key ring book lamp map letter coin watch clock hat scarf glove boot umbrella mirror spoon knife cup plate bowl kettle candle bottle basket
box drum flute whistle bell kite ball doll puzzle brush pencil notebook stamp ticket passport camera compass lantern rope hammer needle button
necklace bracelet brooch feather shell stone pearl marble crown flag violin radio telescope magnet purse wallet suitcase blanket pillow
jar spade rake ladder wheel saddle anchor sail net""".split()

THINGS = """car bike house door boat tent coat bag chair kitchen fence gate roof sofa curtain carpet scooter van truck canoe sledge jacket dress
shirt raincoat backpack helmet wall table bathroom balcony garage teapot mailbox bench""".split()

PLACES = [p.replace("_", " ") for p in """drawer cupboard wardrobe cellar attic garage kitchen garden shed barn library desk bathroom bedroom hallway
basket chest suitcase fridge oven piano sofa bookcase fireplace mailbox car backpack toolbox laundry pantry balcony greenhouse treehouse boathouse
stable workshop office cabin tent old_well hollow_tree blue_box green_tin glass_jar paper_bag wooden_crate tea_tin cookie_jar sock_drawer
coat_pocket hat_box flower_pot watering_can bird_house dog_house""".split()]

CODES = ["locker", "safe", "gate", "garage", "suitcase", "bike lock", "front door", "alarm", "vault", "phone", "garden gate", "mailbox", "cabin",
         "office door", "elevator", "cellar door", "storage room", "boathouse", "treasure chest", "ticket machine"]

VEHICLES = """bus train tram ferry plane""".split()

RELATIONS = """brother sister mother father aunt uncle cousin grandmother grandfather friend neighbour teacher boss colleague daughter son niece
nephew roommate doctor landlord wife husband partner girlfriend boyfriend classmate coach tutor godmother godfather""".split()

WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()

SUBJECTS = """history geography biology chemistry physics music art algebra geometry grammar drawing poetry astronomy philosophy economics Latin
French Spanish German Italian Greek Turkish Arabic Hindi Japanese Chinese Korean Swahili Finnish Polish Portuguese Dutch Swedish""".split()

SECRETS = """acorn anchor apricot arrow avalanche badger bamboo banjo barrel beacon biscuit blizzard blossom bonfire boulder breeze bubble butterfly
button cabbage canyon caravan carousel cascade castle cinnamon clover cobweb comet copper coral cricket crystal dagger dandelion diamond dolphin
dragon drizzle eagle echo eclipse ember engine falcon feather fiddle firefly flamingo fountain galaxy garlic geyser giraffe glacier granite
hammock harvest hazelnut hurricane iceberg igloo island jackal jigsaw jungle kangaroo kernel kettle lagoon lantern lavender lemon lighthouse
lobster magnet mammoth marble meadow meteor mirror monsoon mosaic mountain mustard nectar nutmeg oasis octopus onion orchard origami oyster
paddle panther parachute pebble pelican penguin pepper pigeon planet pretzel prism puzzle pyramid quartz quiver raccoon rainbow raven ribbon
rocket saffron satellite scorpion seagull shadow shamrock shovel skeleton snowflake sparrow sphinx spiral stallion sunrise tambourine teapot
thimble thunder tiger tornado tractor trumpet tulip tunnel turnip umbrella valley vanilla velvet violin volcano walrus waterfall
whisper windmill yogurt zeppelin zipper""".split()

ADJECTIVES = """brave kind clever quiet curious gentle cheerful patient shy funny calm lazy stubborn careful lonely proud busy sleepy tiny old young
merry wise bold friendly""".split()

SHIP_HEADS = """Silver Golden Northern Southern Laughing Sleeping Wandering Lucky Brave Blue Red White Green Old Little Merry Silent Flying Dancing
Morning Evening Winter Summer Stormy Happy Gentle Swift Bright Lonely Royal""".split()
SHIP_TAILS = """Star Moon Sun Wave Gull Swan Heron Whale Dolphin Pearl Anchor Lantern Rose Lily Arrow Spirit Dream Wind Tide Cloud Fox Otter Queen
Prince Maiden Sailor Dawn Comet Feather Crown""".split()

CAPITALS = """France:Paris Italy:Rome Spain:Madrid Germany:Berlin Norway:Oslo Egypt:Cairo Japan:Tokyo Portugal:Lisbon Greece:Athens Poland:Warsaw
Austria:Vienna Ireland:Dublin Hungary:Budapest Denmark:Copenhagen Peru:Lima Cuba:Havana Kenya:Nairobi Thailand:Bangkok Canada:Ottawa
England:London Sweden:Stockholm Finland:Helsinki Belgium:Brussels Croatia:Zagreb Estonia:Tallinn Latvia:Riga Vietnam:Hanoi Qatar:Doha
Lebanon:Beirut Tunisia:Tunis""".split()
