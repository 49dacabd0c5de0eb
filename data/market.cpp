#include "data/market.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <map>
#include <set>
#include <span>
#include <string_view>
#include <unordered_map>

#include "core/check.h"
#include "core/file.h"
#include "core/text.h"
#include "data/dice.h"

namespace steelyard {
namespace {

std::vector<std::string> parts_of(std::string_view text, char at) {
  const std::vector<std::string_view> parts = split(text, at);
  return {parts.begin(), parts.end()};
}

// ---- the words ----

// A thing's name and its synonyms, parted by |. Chinese words are parted by blanks, which texts leave out in
// the end: until then both languages are handled alike.
struct Words {
  const char *english, *chinese;

  std::vector<std::string> in(Language language) const {
    return parts_of(language == Language::chinese ? chinese : english, '|');
  }
  std::string name(Language language) const { return in(language).front(); }
};

// Kinds of attributes, one letter each: c colour, m material, s size of clothes, l length, v volume, f
// feature of a device, t style of furniture, u whom or what it is for.
struct CategoryWords {
  const char* family;  // department/family
  bool accessory;      // is for the things of its family
  Words words;
  const char* kinds;
  int low, high;  // price in whole units
};

constexpr CategoryWords kCategories[] = {
    {"electronics/phone", false, {"phone|smartphone|mobile|handset", "手机|移动电话"}, "cfg", 150, 1100},
    {"electronics/phone", true, {"phone case|phone cover", "手机壳|保护套"}, "cm", 8, 45},
    {"electronics/phone", true, {"phone charger|power adapter", "手机 充电器|电源 适配器"}, "cfl", 9, 60},
    {"electronics/phone", true, {"screen protector|tempered film", "屏幕 贴膜|钢化片"}, "m", 5, 25},
    {"electronics/computer", false, {"laptop|notebook|ultrabook", "笔记本|手提电脑|便携机"}, "cf", 300, 2200},
    {"electronics/computer", false, {"tablet|slate", "平板|触控屏"}, "cf", 120, 900},
    {"electronics/computer", false, {"monitor|display", "显示器|液晶屏"}, "fl", 100, 800},
    {"electronics/computer", true, {"laptop bag|notebook sleeve", "笔记本 包|手提 内胆"}, "cm", 15, 90},
    {"electronics/computer", true, {"keyboard|keypad", "键盘|打字板"}, "cf", 12, 160},
    {"electronics/computer", true, {"mouse|trackball", "鼠标|轨迹球"}, "cf", 8, 90},
    {"electronics/sound", false, {"headphones|headset|earphones", "耳机|头戴 听筒|耳麦"}, "cf", 20, 400},
    {"electronics/sound", false, {"speaker|loudspeaker|boombox", "音箱|扬声器|低音炮"}, "cf", 25, 500},
    {"electronics/sound", true, {"headphone stand|headset holder", "耳机 支架|耳麦 挂座"}, "cm", 10, 40},
    {"electronics/sound", true, {"speaker cable|audio wire", "音箱 线|发烧 导线"}, "l", 5, 50},
    {"electronics/camera", false, {"camera|camcorder", "相机|单反|摄影机"}, "cf", 150, 2500},
    {"electronics/camera", true, {"camera bag|photo pouch", "相机 包|摄影 收纳袋"}, "cm", 20, 120},
    {"electronics/camera", true, {"tripod|stand", "三脚架|稳定器"}, "ml", 20, 200},
    {"kitchen/coffee", false, {"coffee maker|espresso machine|percolator", "咖啡机|萃取器"}, "cfv", 30, 600},
    {"kitchen/coffee", false, {"kettle|water boiler", "电热壶|煮水器"}, "cmv", 18, 120},
    {"kitchen/coffee", true, {"coffee filter|brewing paper", "咖啡 滤纸|冲泡 过滤袋"}, "mv", 4, 25},
    {"kitchen/coffee", true, {"coffee mug|cup|beaker", "咖啡杯|马克杯|茶缸"}, "cmv", 5, 30},
    {"kitchen/cooking", false, {"frying pan|skillet", "平底锅|煎盘"}, "cml", 15, 150},
    {"kitchen/cooking", false, {"saucepan|cooking pot", "汤锅|炖煲"}, "cmv", 18, 160},
    {"kitchen/cooking", true, {"pan lid|pot cover", "锅盖|煲罩"}, "ml", 8, 40},
    {"kitchen/cutting", false, {"chef knife|cook blade|cleaver", "菜刀|厨师 刃具|斩骨刀"}, "ml", 20, 220},
    {"kitchen/cutting", true, {"knife block|blade holder", "刀架|刃具 插座"}, "cm", 20, 90},
    {"kitchen/cutting", true, {"knife sharpener|whetstone", "磨刀器|油石"}, "cm", 10, 60},
    {"kitchen/storage", false, {"water bottle|flask|canteen", "水杯|随行壶|保温瓶"}, "cmv", 8, 45},
    {"kitchen/storage", false, {"lunch box|bento", "饭盒|便当"}, "cmu", 9, 40},
    {"bath/shower", false, {"shower head|rain spray|sprinkler", "花洒|莲蓬头|淋浴 喷头"}, "cmf", 15, 180},
    {"bath/shower", false, {"shower curtain|bath drape", "浴帘|隔水布"}, "cml", 10, 50},
    {"bath/shower", false, {"bathtub|tub", "浴缸|泡澡桶"}, "cml", 200, 1500},
    {"bath/shower", true, {"shower hose|spray tube", "花洒 软管|喷头 导管"}, "ml", 8, 35},
    {"bath/shower", true, {"curtain ring|drape hook", "浴帘 挂环|帘钩"}, "cm", 4, 20},
    {"bath/towel", false, {"bath towel|washcloth|terry", "浴巾|毛巾|洗澡布"}, "cml", 8, 50},
    {"bath/towel", true, {"towel rack|rail", "毛巾 架|挂杆"}, "cml", 15, 90},
    {"furniture/seat", false, {"sofa|couch|settee", "沙发|软座|卡座"}, "cmt", 250, 2400},
    {"furniture/seat", false, {"office chair|desk seat|swivel", "办公椅|电脑椅|转椅"}, "cmt", 80, 700},
    {"furniture/seat", false, {"armchair|recliner", "扶手椅|躺椅"}, "cmt", 120, 1100},
    {"furniture/seat", true, {"chair cushion|seat pad", "椅子 垫|坐垫"}, "cm", 10, 50},
    {"furniture/seat", true, {"sofa cover|couch throw|slipcover", "沙发 套|软座 盖巾|罩布"}, "cm", 20, 110},
    {"furniture/table", false, {"dining table|dinner board", "餐桌|饭台"}, "cmtl", 120, 1500},
    {"furniture/table", false, {"coffee table|side stand", "茶几|边桌"}, "cmt", 50, 600},
    {"furniture/table", false, {"desk|bureau|workstation", "书桌|写字台|工作台"}, "cmtl", 80, 900},
    {"furniture/table", true, {"table cloth|linen runner", "桌布|台布"}, "cml", 10, 60},
    {"furniture/table", true, {"table leg|trestle", "桌腿|支撑脚"}, "ml", 15, 90},
    {"furniture/bed", false, {"bed frame|bedstead", "床架|睡榻"}, "cmt", 120, 1400},
    {"furniture/bed", false, {"mattress|futon", "床垫|席梦思"}, "tl", 100, 1600},
    {"furniture/bed", true, {"bed sheet|linens", "床单|被褥"}, "cm", 15, 120},
    {"furniture/bed", true, {"pillow|bolster", "枕头|靠枕"}, "cmu", 10, 90},
    {"furniture/light", false, {"table lamp|reading light", "台灯|阅读灯"}, "cmt", 20, 250},
    {"furniture/light", false, {"ceiling lamp|chandelier|pendant", "吸顶灯|吊灯|枝形灯"}, "cmt", 30, 600},
    {"furniture/light", true, {"lamp shade|light cover", "灯罩|遮光罩"}, "cm", 10, 80},
    {"furniture/light", true, {"light bulb|globe", "灯泡|球泡"}, "cf", 3, 30},
    {"clothes/shoes", false, {"running shoes|sneakers|trainers", "跑鞋|运动鞋|球鞋"}, "csu", 40, 220},
    {"clothes/shoes", false, {"boots|wellingtons", "靴子|马靴"}, "cmsu", 50, 300},
    {"clothes/shoes", true, {"shoe rack|footwear shelf", "鞋架|鞋柜"}, "cm", 20, 90},
    {"clothes/shoes", true, {"shoe laces|strings", "鞋带|系绳"}, "cl", 3, 12},
    {"clothes/coat", false, {"jacket|anorak|windbreaker", "夹克|外套|风衣"}, "cmsu", 40, 400},
    {"clothes/coat", false, {"sweater|pullover|jumper", "毛衣|针织衫|套头衫"}, "cmsu", 25, 180},
    {"clothes/coat", false, {"raincoat|mackintosh", "雨衣|防雨 斗篷"}, "csu", 30, 200},
    {"clothes/coat", true, {"coat hanger|garment hook", "衣架|晾衣 挂钩"}, "cm", 3, 30},
    {"clothes/trousers", false, {"jeans|denims", "牛仔裤|丹宁"}, "csu", 30, 180},
    {"clothes/trousers", false, {"trousers|pants|slacks", "裤子|长裤|西裤"}, "cmsu", 25, 160},
    {"clothes/trousers", true, {"trouser belt|waist strap", "腰带|皮带"}, "cml", 10, 80},
    {"clothes/watch", false, {"watch|timepiece|chronograph", "手表|腕表|计时器"}, "cmu", 40, 1200},
    {"clothes/watch", true, {"watch strap|wrist band", "表带|腕带"}, "cml", 8, 90},
    {"garden/water", false, {"garden hose|water pipe", "园艺 水管|浇花 皮管"}, "cl", 15, 90},
    {"garden/water", true, {"hose reel|pipe winder", "水管 卷盘|皮管 绕线车"}, "cl", 20, 140},
    {"garden/water", true, {"hose nozzle|jet", "水枪|喷嘴"}, "cm", 5, 35},
    {"garden/outdoor", false, {"garden chair|patio seat|deckchair", "户外 椅子|沙滩椅"}, "cmt", 25, 250},
    {"garden/outdoor", false, {"grill|barbecue|smoker", "烧烤炉|烤架|烟熏炉"}, "cmf", 60, 900},
    {"garden/outdoor", true, {"grill cover|barbecue tarp", "烧烤炉 罩|烤架 防尘布"}, "cl", 15, 80},
    {"garden/outdoor", true, {"charcoal|briquettes", "木炭|燃料块"}, "v", 6, 30},
    {"pets/dog", false, {"dog bed|kennel mat", "狗窝|宠物垫"}, "cml", 20, 150},
    {"pets/dog", false, {"dog food|kibble|chow", "狗粮|犬食|宠物 饲料"}, "vu", 10, 90},
    {"pets/dog", true, {"dog leash|lead", "牵引绳|遛狗链"}, "cml", 6, 50},
    {"pets/dog", true, {"dog bowl|feeder", "狗碗|食盆"}, "cmv", 5, 40},
    {"sport/bike", false, {"bicycle|bike|cycle", "自行车|单车|脚踏车"}, "cmu", 150, 2500},
    {"sport/bike", true, {"bicycle pump|tyre inflator", "自行车 打气筒|充气泵"}, "cl", 10, 60},
    {"sport/bike", true, {"bicycle lock|chain bolt", "自行车 锁|链条 锁"}, "cml", 10, 120},
    {"sport/bike", true, {"helmet|headgear", "头盔|安全帽"}, "csu", 20, 200},
    {"sport/camp", false, {"tent|shelter", "帐篷|天幕"}, "ct", 60, 800},
    {"sport/camp", false, {"backpack|rucksack|knapsack", "背包|双肩包|行囊"}, "cmv", 25, 300},
    {"sport/camp", true, {"tent peg|stake", "帐篷 钉|地桩"}, "ml", 4, 25},
    {"sport/camp", true, {"sleeping bag|bedroll", "睡袋|露营 被子"}, "cmu", 30, 350},
};
constexpr int kCategoryCount = static_cast<int>(std::size(kCategories));

struct AttributeWords {
  char kind;
  Words words;
};

constexpr AttributeWords kAttributes[] = {
    {'c', {"black|jet", "黑色|曜石"}},
    {'c', {"white|ivory", "白色|象牙"}},
    {'c', {"grey|gray|anthracite", "灰色|银灰|水泥"}},
    {'c', {"red|scarlet", "红色|朱砂"}},
    {'c', {"blue|azure", "蓝色|天青"}},
    {'c', {"navy|indigo", "藏青|海军蓝"}},
    {'c', {"green|emerald", "绿色|翡翠"}},
    {'c', {"yellow|lemon", "黄色|柠檬"}},
    {'c', {"orange", "橙色"}},
    {'c', {"purple|violet", "紫色|薰衣草"}},
    {'c', {"pink|rose", "粉色|樱花"}},
    {'c', {"brown|chestnut", "棕色|栗子"}},
    {'c', {"beige|cream", "米色|奶油"}},
    {'c', {"silver|chrome", "银色|镀铬"}},
    {'c', {"gold|golden", "金色|香槟"}},
    {'c', {"turquoise|teal", "青绿|松石"}},
    {'c', {"burgundy|maroon", "酒红|勃艮第"}},
    {'m', {"leather|hide", "真皮|头层 牛皮"}},
    {'m', {"cotton", "纯棉"}},
    {'m', {"wool|merino", "羊毛|美利奴"}},
    {'m', {"linen|flax", "亚麻|麻布"}},
    {'m', {"silicone|rubber", "硅胶|橡胶"}},
    {'m', {"plastic|polymer", "塑料|树脂"}},
    {'m', {"steel|stainless", "不锈钢|精钢"}},
    {'m', {"aluminium|alloy", "铝合金|航空铝"}},
    {'m', {"oak|oaken", "橡木|柞木"}},
    {'m', {"pine|softwood", "松木|针叶材"}},
    {'m', {"walnut", "胡桃木"}},
    {'m', {"bamboo|cane", "竹制|毛竹"}},
    {'m', {"glass|crystal", "玻璃|水晶"}},
    {'m', {"ceramic|porcelain", "陶瓷|骨瓷"}},
    {'m', {"velvet|plush", "天鹅绒|丝绒"}},
    {'m', {"polyester|synthetic", "涤纶|聚酯"}},
    {'m', {"nylon", "尼龙"}},
    {'m', {"copper", "紫铜"}},
    {'m', {"canvas|sailcloth", "帆布|篷布"}},
    {'s', {"xs", "特小码"}},
    {'s', {"small|petite", "小码|娇小"}},
    {'s', {"medium|regular", "中码|标准码"}},
    {'s', {"large|big", "大码|宽松"}},
    {'s', {"xl|oversize", "加大码|加肥"}},
    {'s', {"xxl|plussize", "特大码|超大"}},
    {'l', {"50cm|20inch", "50厘米|尺半"}},
    {'l', {"80cm|32inch", "80厘米|两尺四"}},
    {'l', {"100cm|1m", "100厘米|三尺"}},
    {'l', {"120cm|48inch", "120厘米|三尺六"}},
    {'l', {"150cm|60inch", "150厘米|四尺半"}},
    {'l', {"180cm|6ft", "180厘米|五尺四"}},
    {'l', {"200cm|2m", "200厘米|六尺"}},
    {'l', {"10m|33ft", "10米|三丈"}},
    {'v', {"250ml|quarterlitre", "250毫升|半斤装"}},
    {'v', {"500ml|halflitre", "500毫升|一斤装"}},
    {'v', {"1l|litre", "1升|两斤装"}},
    {'v', {"2l|twolitre", "2升|四斤装"}},
    {'v', {"5l|fivelitre", "5升|十斤装"}},
    {'g', {"64gb", "64G"}},
    {'g', {"128gb", "128G"}},
    {'g', {"256gb", "256G"}},
    {'f', {"wireless|cordless", "无线|不插电"}},
    {'f', {"bluetooth", "蓝牙"}},
    {'f', {"waterproof|watertight", "防水|不透水"}},
    {'f', {"rechargeable", "可充电"}},
    {'f', {"portable|travel", "便携|旅行"}},
    {'f', {"compact|mini", "小巧|迷你"}},
    {'f', {"digital|electronic", "数码|电子"}},
    {'f', {"gaming|gamer", "电竞|游戏"}},
    {'t', {"modern|contemporary", "现代|时尚"}},
    {'t', {"vintage|retro", "复古|怀旧"}},
    {'t', {"rustic|farmhouse", "乡村|田园"}},
    {'t', {"folding|collapsible", "折叠|可收"}},
    {'t', {"industrial|factory", "工业风|铁艺"}},
    {'t', {"scandinavian|nordic", "北欧|极简"}},
    {'t', {"adjustable|variable", "可调节|升降"}},
    {'u', {"women|ladies", "女士|淑女"}},
    {'u', {"men|gents", "男士|绅士"}},
    {'u', {"kids|children|junior", "儿童|宝宝|小孩"}},
    {'u', {"unisex", "男女 通用"}},
    {'u', {"senior|elderly", "老人|长辈"}},
};
constexpr int kAttributeCount = static_cast<int>(std::size(kAttributes));

constexpr Words kBrands[] = {
    {"Alvora", "奥沃拉"},    {"Benton", "本顿"},     {"Brixel", "布里索"},   {"Caldera", "卡德拉"},
    {"Cirrus", "西鲁斯"},    {"Corvane", "科凡"},    {"Dalmere", "达尔默"},  {"Denvio", "登维欧"},
    {"Dorsey", "多尔西"},    {"Elmstead", "埃姆斯"}, {"Emberly", "恩伯利"},  {"Fenwick", "芬威克"},
    {"Ferrano", "费拉诺"},   {"Fjordal", "菲奥达"},  {"Galloway", "加洛韦"}, {"Gravix", "格拉维"},
    {"Hadley", "哈德利"},    {"Halcyon", "海西恩"},  {"Hartwell", "哈特维"}, {"Inverna", "因维纳"},
    {"Ivorix", "艾沃里"},    {"Jasper", "贾斯珀"},   {"Jorvik", "约维克"},   {"Kestrel", "凯斯特"},
    {"Kinloch", "金洛赫"},   {"Koravo", "科拉沃"},   {"Lakemont", "莱克蒙"}, {"Lumaro", "卢马罗"},
    {"Lynford", "林福德"},   {"Maplin", "梅普林"},   {"Meridian", "美里安"}, {"Montrose", "蒙特罗"},
    {"Nexara", "耐萨拉"},    {"Nimbus", "宁布斯"},   {"Norden", "诺登"},     {"Oakhurst", "奥克赫"},
    {"Olympus", "奥林珀"},   {"Orbitel", "欧比特"},  {"Palmera", "帕梅拉"},  {"Pemberton", "彭伯顿"},
    {"Pinnacle", "品纳科"},  {"Quantis", "昆蒂斯"},  {"Quillon", "奎隆"},    {"Ravello", "拉维罗"},
    {"Redfern", "雷德芬"},   {"Rivona", "里沃纳"},   {"Sabrel", "萨布雷"},   {"Selwyn", "塞尔温"},
    {"Solaris", "索拉里"},   {"Stanmore", "斯坦莫"}, {"Tavira", "塔维拉"},   {"Tessaro", "特萨罗"},
    {"Thornbury", "索恩伯"}, {"Trivex", "崔维斯"},   {"Ulmen", "乌尔门"},    {"Umbria", "翁布里"},
    {"Valdane", "瓦尔丹"},   {"Verano", "维拉诺"},   {"Vortexa", "沃特萨"},  {"Wexford", "韦克斯"},
    {"Windmere", "温德米"},  {"Xantor", "赞托"},     {"Yarrow", "雅罗"},     {"Zephyra", "泽菲拉"}};
constexpr int kBrandCount = static_cast<int>(std::size(kBrands));

// What titles add and no query means; what queries add and no product has.
constexpr Words kTitleNoise[] = {{"Premium", "高档"},
                                 {"New", "新款"},
                                 {"Pack of 2", "两件装"},
                                 {"Heavy Duty", "加厚"},
                                 {"Limited Edition", "限量版"},
                                 {"Great Gift", "送礼 佳品"},
                                 {"Set of 4", "四件套"},
                                 {"Original", "正品"},
                                 {"Free Delivery", "包邮"},
                                 {"Best Seller", "爆款"},
                                 {"Easy to Clean", "易清洗"},
                                 {"Eco", "环保"},
                                 {"Deluxe", "豪华"},
                                 {"Two Year Warranty", "两年 质保"},
                                 {"Home Office", "居家 办公"}};
constexpr Words kQueryNoise[] = {{"cheap", "便宜"}, {"best", "最好"}, {"new", "新款"},
                                 {"buy", "购买"},   {"sale", "特价"}, {"good", "好用"}};
// Before what an accessory is for, and before what comes with a thing.
constexpr Words kFor = {"for", "适用"}, kWith = {"with", "配"};

// ---- texts ----

bool is_chinese(char c) { return (c & 0x80) != 0; }  // a byte of it, in the texts made here

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return text;
}

std::string capitalised(std::string text) {
  for (size_t i = 0; i < text.size(); ++i)
    if ((i == 0 || text[i - 1] == ' ') && text[i] >= 'a' && text[i] <= 'z')
      text[i] = static_cast<char>(text[i] - 32);
  return text;
}

std::string join(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts)
    if (!part.empty()) out += (out.empty() ? "" : " ") + part;
  return out;
}

std::string plural(const std::string& noun) {
  if (noun.ends_with("s")) return noun;
  if (noun.ends_with("mouse")) return noun.substr(0, noun.size() - 4) + "ice";
  if (noun.ends_with("knife")) return noun.substr(0, noun.size() - 2) + "ves";
  for (const char* hissing : {"x", "ch", "sh"})
    if (noun.ends_with(hissing)) return noun + "es";
  const char before = noun.size() > 1 ? noun[noun.size() - 2] : 'a';
  if (noun.back() == 'y' && std::string_view("aeiou").find(before) == std::string_view::npos)
    return noun.substr(0, noun.size() - 1) + "ies";
  return noun + "s";
}

std::string family(int category) { return kCategories[category].family; }
std::string department(int category) { return family(category).substr(0, family(category).find('/')); }

std::string suffix(Language language) { return language == Language::chinese ? "_zh" : ""; }

// The text as it is shown.
std::string written(std::string text, Language language) {
  if (language == Language::chinese) std::erase(text, ' ');
  return text;
}

// Lower-case words, sorted, each once.
std::vector<std::string> words_of(const std::string& text) {
  std::string plain = lower(text);
  for (char& c : plain)
    if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && !is_chinese(c)) c = ' ';
  std::vector<std::string> words = parts_of(plain, ' ');
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
  return words;
}

// Words as numbers, so that sharing them is cheap to count.
class Lexicon {
 public:
  std::vector<int> numbers(const std::string& text) {
    std::vector<int> out;
    for (const std::string& word : words_of(text))
      out.push_back(numbers_.emplace(word, static_cast<int>(numbers_.size())).first->second);
    return out;
  }

 private:
  std::unordered_map<std::string, int> numbers_;
};

int shared_words(const std::vector<int>& a, const std::vector<int>& b) {
  int shared = 0;
  for (const int word : a) shared += std::find(b.begin(), b.end(), word) != b.end();
  return shared;
}

// ---- the shop ----

// The families, brands and attributes as lists to draw from.
struct Shelves {
  std::vector<std::vector<int>> brands_of, family_of, things_of, accessories_of;  // by category
  std::map<char, std::vector<int>> values_of;                                     // by kind of attribute
  std::vector<int> popular;  // categories, each as often as it is asked for

  explicit Shelves(int64_t seed) {
    std::set<std::string> names;
    for (int c = 0; c < kCategoryCount; ++c) names.insert(department(c));
    const std::vector<std::string> departments(names.begin(), names.end());
    const int n = static_cast<int>(departments.size());
    for (int c = 0; c < kCategoryCount; ++c) {
      std::vector<int> sellers, relatives, things, accessories;
      for (int b = 0; b < kBrandCount; ++b)  // every brand is at home in two departments, or one
        if (departments[static_cast<size_t>(b % n)] == department(c) ||
            departments[static_cast<size_t>((7 * b + 3) % n)] == department(c))
          sellers.push_back(b);
      for (int other = 0; other < kCategoryCount; ++other) {
        if (other == c || family(other) != family(c)) continue;
        relatives.push_back(other);
        (kCategories[other].accessory ? accessories : things).push_back(other);
      }
      brands_of.push_back(sellers);
      family_of.push_back(relatives);
      things_of.push_back(things);
      accessories_of.push_back(accessories);
    }
    for (int a = 0; a < kAttributeCount; ++a) values_of[kAttributes[a].kind].push_back(a);

    // A few categories are asked for often, most seldom: the r-th most popular in proportion to 1/(r + 5).
    std::vector<std::pair<uint64_t, int>> order;
    for (int c = 0; c < kCategoryCount; ++c) order.emplace_back(Dice(seed, "popularity", c).bits(), c);
    std::sort(order.begin(), order.end());
    for (int r = 0; r < kCategoryCount; ++r)
      popular.insert(popular.end(), static_cast<size_t>(1000 / (r + 5)),
                     order[static_cast<size_t>(r)].second);
  }
};

// A name or one of its synonyms.
std::string worded(const Words& words, double synonym, Language language, Dice& dice) {
  std::vector<std::string> all = words.in(language);
  const int synonyms = static_cast<int>(all.size()) - 1;
  return synonyms > 0 && dice.chance(synonym) ? all[1 + static_cast<size_t>(dice.below(synonyms))] : all[0];
}

std::string head_of(int category, double synonym, Language language, Dice& dice) {
  return worded(kCategories[category].words, synonym, language, dice);
}

std::string title_of(const Product& product, const Shelves& shelves, Language language, Dice& dice) {
  const size_t category = static_cast<size_t>(product.category);
  const std::string brand = kBrands[product.brand].name(language);
  const std::string head = capitalised(head_of(product.category, 0.35, language, dice));
  std::vector<std::string> attributes;
  for (const int a : product.attributes)
    attributes.push_back(capitalised(worded(kAttributes[a].words, 0.25, language, dice)));
  std::string commas, spaces;
  for (const std::string& attribute : attributes) {
    commas += ", " + attribute;
    spaces += (spaces.empty() ? "" : " ") + attribute;
  }
  std::string model(1, static_cast<char>('A' + dice.below(26)));
  model += std::to_string(10 + dice.below(90));

  std::string extra;
  const std::vector<int>& things = shelves.things_of[category];
  const std::vector<int>& accessories = shelves.accessories_of[category];
  if (kCategories[category].accessory && !things.empty() && dice.chance(0.7)) {
    // One draw after the other: operands of + are evaluated in any order.
    const std::string thing = capitalised(head_of(dice.one_of(things), 0.3, language, dice));
    const std::string of_brand = dice.chance(0.5) ? dice.one_of(kBrands).name(language) + " " : "";
    extra = " " + kFor.name(language) + " " + of_brand + thing;
  } else if (!kCategories[category].accessory && !accessories.empty() && dice.chance(0.25)) {
    extra = " " + kWith.name(language) + " " +
            capitalised(head_of(dice.one_of(accessories), 0.3, language, dice));
  }
  const std::string noise = dice.chance(0.5) ? dice.one_of(kTitleNoise).name(language) : "";
  if (language == Language::chinese) switch (dice.below(4)) {
      case 0:
        return join({brand, model, head + extra, spaces, noise});
      case 1:
        return join({noise, brand, spaces, head + extra, model});
      case 2:
        return join({spaces, head + extra, brand, "（" + model + "）", noise});
      default:
        return join({"【" + brand + "】", noise, head + extra, spaces});
    }
  switch (dice.below(5)) {
    case 0:
      return join({brand, model, head + extra + commas, noise});
    case 1:
      return join({noise, brand, spaces, head + extra, "-", model});
    case 2:
      return join({spaces, head + extra, "by", brand, "(" + model + ")", noise});
    case 3:
      return join({noise, head + extra, "|", spaces, "|", brand});
    default:
      return join({brand, head + extra, spaces, model, noise});
  }
}

Product make_product(int64_t seed, int number, const Shelves& shelves, Language language) {
  Dice dice(seed, "product", number);
  Product product;
  const std::string digits = std::to_string(number + 1);
  product.id = "P" + std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits;
  product.category = dice.chance(0.5) ? dice.below(kCategoryCount) : dice.one_of(shelves.popular);
  const CategoryWords& category = kCategories[product.category];
  product.brand = dice.one_of(shelves.brands_of[static_cast<size_t>(product.category)]);
  for (const char kind : std::string_view(category.kinds))
    product.attributes.push_back(dice.one_of(shelves.values_of.at(kind)));
  std::sort(product.attributes.begin(), product.attributes.end());
  product.cents = 100 * int64_t{category.low} + dice.below(100 * (category.high - category.low));
  if (language == Language::chinese) dice = Dice(seed, "title_zh", number);  // the same product so far
  product.title = title_of(product, shelves, language, dice);
  return product;
}

// One slip of the keyboard: two letters swapped, one lost, one doubled, one vowel wrong.
std::string slip(const std::string& word, Dice& dice) {
  std::string wrong = word;
  const size_t at = 1 + static_cast<size_t>(dice.below(static_cast<int>(word.size()) - 2));
  const std::string_view vowels = "aeiou";
  switch (dice.below(4)) {
    case 0:
      std::swap(wrong[at], wrong[at + 1]);
      break;
    case 1:
      wrong.erase(at, 1);
      break;
    case 2:
      wrong.insert(at, 1, wrong[at]);
      break;
    default:
      for (size_t i = at; i < wrong.size(); ++i)
        if (vowels.find(wrong[i]) != vowels.npos) {
          wrong[i] = vowels[(vowels.find(wrong[i]) + 1 + static_cast<size_t>(dice.below(4))) % 5];
          break;
        }
  }
  return wrong;
}

// Two for each word of five letters or more, none of which is a word itself or the misspelling of another.
std::vector<WordPair> make_misspellings(int64_t seed) {
  std::set<std::string> right;
  const auto add = [&](const std::string& text) {
    for (const std::string& word : words_of(text)) right.insert(word), right.insert(plural(word));
  };
  std::set<std::string> candidates;
  const auto offer = [&](const std::string& text) {
    add(text);
    for (const std::string& word : words_of(text))
      if (word.size() >= 5 && word.find_first_of("0123456789") == word.npos) candidates.insert(word);
  };
  for (const CategoryWords& category : kCategories) offer(category.words.english);
  for (const AttributeWords& attribute : kAttributes) offer(attribute.words.english);
  for (const Words& brand : kBrands) offer(brand.english);
  for (const Words& noise : kTitleNoise) add(noise.english);
  for (const Words& noise : kQueryNoise) add(noise.english);

  std::vector<WordPair> pairs;
  int64_t number = 0;
  for (const std::string& word : candidates) {
    Dice dice(seed, "spelling", number++);
    for (int found = 0, tries = 0; found < 2 && tries < 20; ++tries) {
      const std::string wrong = slip(word, dice);
      if (!right.insert(wrong).second) continue;
      pairs.push_back({wrong, word});
      ++found;
    }
  }
  return pairs;
}

Intent make_intent(const Shelves& shelves, Dice& dice) {
  Intent intent;
  intent.category = dice.one_of(shelves.popular);
  if (dice.chance(0.4)) intent.brand = dice.one_of(shelves.brands_of[static_cast<size_t>(intent.category)]);
  const int wanted = dice.chance(0.25) ? 2 : dice.chance(0.6) ? 1 : 0;
  std::string kinds = kCategories[intent.category].kinds;
  for (int i = 0; i < wanted && !kinds.empty(); ++i) {
    const size_t at = static_cast<size_t>(dice.below(static_cast<int>(kinds.size())));
    intent.attributes.push_back(dice.one_of(shelves.values_of.at(kinds[at])));
    kinds.erase(at, 1);
  }
  std::sort(intent.attributes.begin(), intent.attributes.end());
  return intent;
}

std::vector<std::string> chinese_words() {
  std::set<std::string> words;
  const auto add = [&](const Words& thing) {
    for (std::string word : words_of(thing.chinese)) {
      std::erase_if(word, [](char c) { return !is_chinese(c); });  // 50厘米
      if (!word.empty()) words.insert(word);
    }
  };
  for (const CategoryWords& category : kCategories) add(category.words);
  for (const AttributeWords& attribute : kAttributes) add(attribute.words);
  for (const auto& list : {std::span<const Words>(kBrands), {kTitleNoise}, {kQueryNoise}})
    for (const Words& thing : list) add(thing);
  add(kFor), add(kWith);
  return {words.begin(), words.end()};
}

using Misspellings = std::map<std::string, std::vector<std::string>>;  // by the right word

std::string query_text(const Intent& intent, const Misspellings& misspellings, double misspelt,
                       Language language, Dice& dice) {
  std::string head = head_of(intent.category, 0.4, language, dice);
  if (language == Language::english && dice.chance(0.25)) head = plural(head);
  const std::string brand = intent.brand < 0 ? "" : lower(kBrands[intent.brand].name(language));
  std::vector<std::string> attributes;
  for (const int a : intent.attributes)
    attributes.push_back(worded(kAttributes[a].words, 0.3, language, dice));
  const std::string noise = dice.chance(0.1) ? dice.one_of(kQueryNoise).name(language) : "";
  std::string text;
  switch (dice.below(4)) {
    case 0:
      text = join({noise, join(attributes), brand, head});
      break;
    case 1:
      text = join({head, join(attributes), brand, noise});
      break;
    case 2:
      text = join({brand, head, join(attributes), noise});
      break;
    default:
      text = join({noise, brand, join(attributes), head});
  }
  if (!dice.chance(misspelt)) return text;

  std::vector<std::string> words = parts_of(text, ' ');
  std::vector<std::string*> able;
  for (std::string& word : words)
    if (misspellings.count(word)) able.push_back(&word);
  if (able.empty()) return text;
  std::string& word = *dice.one_of(able);
  word = dice.one_of(misspellings.at(word));
  return join(words);
}

// The mean of three raters, rounded to two decimals.
double rated(double truth, double careless, Dice& dice) {
  int sum = 0;
  for (int rater = 0; rater < 3; ++rater) {
    const int below = static_cast<int>(truth);
    sum += dice.chance(careless) ? 1 + dice.below(3) : below + dice.chance(truth - below);
  }
  const int hundredths = (100 * sum + 1) / 3;
  return hundredths / 100.0;
}

// What candidates are drawn from.
struct Stock {
  const Shelves& shelves;
  std::vector<Product> products;
  std::vector<std::vector<int>> titles;       // by product: its words
  std::vector<std::vector<int>> by_category;  // products
  Lexicon lexicon;

  // The products that are judged for a query. Of eight, four are of the category asked for (one of them the
  // best of several), two of its family, one of another category chosen for the words it shares with the
  // query, one is any.
  std::vector<int> candidates(const Query& query, int count, Dice& dice) {
    const std::vector<int> words = lexicon.numbers(query.text);
    const auto shelf = [&](int category) -> const std::vector<int>& {
      return by_category[static_cast<size_t>(category)];
    };
    const auto any = [&] { return dice.below(static_cast<int>(products.size())); };
    const auto from = [&](int category) {
      return shelf(category).empty() ? any() : dice.one_of(shelf(category));
    };
    const auto own = [&] { return from(query.intent.category); };
    const auto relevance = [&](int p) {
      return true_relevance(products[static_cast<size_t>(p)], query.intent);
    };
    const auto overlap = [&](int p) {
      const bool same = products[static_cast<size_t>(p)].category == query.intent.category;
      return same ? -1.0 : shared_words(words, titles[static_cast<size_t>(p)]);
    };
    const auto best_of = [](int tries, const auto& draw, const auto& measure) {
      int best = draw();
      double most = measure(best);
      for (int i = 1; i < tries; ++i) {
        const int other = draw();
        const double value = measure(other);
        if (value > most) most = value, best = other;
      }
      return best;
    };
    std::vector<int> chosen;
    for (int slot = 0; static_cast<int>(chosen.size()) < count; ++slot) {
      const int kind = slot % 8;
      const int product =
          kind == 0   ? best_of(8, own, relevance)
          : kind <= 3 ? own()
          : kind <= 5 ? from(dice.one_of(shelves.family_of[static_cast<size_t>(query.intent.category)]))
          : kind == 6 ? best_of(60, any, overlap)
                      : any();
      if (std::find(chosen.begin(), chosen.end(), product) == chosen.end()) chosen.push_back(product);
    }
    return chosen;
  }
};

void check_config(const MarketConfig& config) {
  const auto range = [](const char* name, double value, double low, double high) {
    if (!(value >= low && value <= high))
      fail(Fault::usage, "market: ", name, " = ", value, "; expected ", low, " to ", high);
  };
  range("products", config.products, 500, 1e6);
  range("train_queries", config.train_queries, 1, 20000);
  range("dev_queries", config.dev_queries, 1, 20000);
  range("test_queries", config.test_queries, 1, 20000);
  range("products_per_query", config.products_per_query, 2, 100);
  range("misspelt", config.misspelt, 0, 1);
  range("careless", config.careless, 0, 1);
}

std::string decimals(int64_t hundredths) {
  const std::string cents = std::to_string(hundredths % 100);
  return std::to_string(hundredths / 100) + (cents.size() < 2 ? ".0" : ".") + cents;
}

std::string pairs_file(const char* header, const std::vector<WordPair>& pairs) {
  std::string out = header;
  for (const WordPair& pair : pairs) out += pair.word + '\t' + pair.other + '\n';
  return out;
}

}  // namespace

double true_relevance(const Product& product, const Intent& intent) {
  if (family(product.category) != family(intent.category)) return 1;
  if (product.category != intent.category)
    return kCategories[product.category].accessory == kCategories[intent.category].accessory ? 1.5 : 1.25;
  double relevance = 3;
  if (intent.brand >= 0 && intent.brand != product.brand) relevance -= 0.75;
  for (const int wanted : intent.attributes)
    if (std::find(product.attributes.begin(), product.attributes.end(), wanted) == product.attributes.end())
      relevance -= 0.5;
  return std::max(relevance, 1.5);
}

Market make_market(const MarketConfig& config, Language language) {
  check_config(config);
  const Shelves shelves(config.seed);
  Market market;
  const auto name = [&](const Words& thing, std::vector<std::string>& names) {
    std::vector<std::string> all = thing.in(language);
    for (std::string& each : all) each = written(each, language);
    for (size_t i = 1; i < all.size(); ++i) market.synonyms.push_back({all[0], all[i]});
    names.push_back(all[0]);
  };
  for (const CategoryWords& category : kCategories) name(category.words, market.categories);
  for (const AttributeWords& attribute : kAttributes) name(attribute.words, market.attributes);
  for (const Words& brand : kBrands) name(brand, market.brands);
  if (language == Language::english) market.misspellings = make_misspellings(config.seed);
  if (language == Language::chinese) market.words = chinese_words();

  Stock stock{shelves, {}, {}, std::vector<std::vector<int>>(static_cast<size_t>(kCategoryCount)), {}};
  for (int i = 0; i < config.products; ++i) {
    stock.products.push_back(make_product(config.seed, i, shelves, language));
    stock.titles.push_back(stock.lexicon.numbers(stock.products.back().title));
    stock.by_category[static_cast<size_t>(stock.products.back().category)].push_back(i);
  }

  Misspellings misspellings;
  for (const WordPair& pair : market.misspellings) misspellings[pair.other].push_back(pair.word);
  const int wanted = config.train_queries + config.dev_queries + config.test_queries;
  std::set<std::string> texts;
  for (int tries = 0; static_cast<int>(market.queries.size()) < wanted; ++tries) {
    if (tries > 100 * wanted)
      fail(Fault::usage, "market: no more than ", market.queries.size(), " different queries; expected ",
           wanted);
    Dice dice(config.seed, "query" + suffix(language), tries);
    Query query;
    query.intent = make_intent(shelves, dice);
    query.text = query_text(query.intent, misspellings, config.misspelt, language, dice);
    if (texts.insert(written(query.text, language)).second) market.queries.push_back(std::move(query));
  }

  for (int q = 0; q < wanted; ++q) {
    const Query& query = market.queries[static_cast<size_t>(q)];
    Dice dice(config.seed, "candidates" + suffix(language), q);
    Dice raters(config.seed, "raters" + suffix(language), q);
    std::vector<Judgement>& part = q < config.train_queries                        ? market.train
                                   : q < config.train_queries + config.dev_queries ? market.dev
                                                                                   : market.test;
    for (const int p : stock.candidates(query, config.products_per_query, dice)) {
      const double truth = true_relevance(stock.products[static_cast<size_t>(p)], query.intent);
      part.push_back({q, p, truth, rated(truth, config.careless, raters)});
    }
  }
  market.products = std::move(stock.products);

  for (Product& product : market.products) product.title = written(std::move(product.title), language);
  for (Query& query : market.queries) query.text = written(std::move(query.text), language);
  return market;
}

Market write_market(const std::filesystem::path& folder, const MarketConfig& config, Language language) {
  Market market = make_market(config, language);
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    fail(Fault::resources, folder.string(), ": cannot be created: ", error.message(), "; expected a folder");

  std::string catalogue = "id\ttitle\tcategory\tbrand\tprice\n";
  for (const Product& product : market.products)
    catalogue += product.id + '\t' + product.title + '\t' +
                 market.categories[static_cast<size_t>(product.category)] + '\t' +
                 market.brands[static_cast<size_t>(product.brand)] + '\t' + decimals(product.cents) + '\n';
  const std::string of = suffix(language);
  write_atomically(folder / ("catalogue" + of + ".tsv"), catalogue);

  const auto relevance_file = [&](const std::vector<Judgement>& judgements) {
    std::string out = "query\tproduct\ttitle\trelevance\n";
    for (const Judgement& judgement : judgements) {
      const Product& product = market.products[static_cast<size_t>(judgement.product)];
      out += market.queries[static_cast<size_t>(judgement.query)].text + '\t' + product.id + '\t' +
             product.title + '\t' + decimals(std::llround(judgement.relevance * 100)) + '\n';
    }
    return out;
  };
  write_atomically(folder / ("relevance" + of + "_train.tsv"), relevance_file(market.train));
  write_atomically(folder / ("relevance" + of + "_dev.tsv"), relevance_file(market.dev));
  write_atomically(folder / ("relevance" + of + "_test.tsv"), relevance_file(market.test));
  write_atomically(folder / ("synonyms" + of + ".tsv"), pairs_file("word\tsynonym\n", market.synonyms));
  if (language == Language::english) {
    write_atomically(folder / "misspellings.tsv", pairs_file("wrong\tright\n", market.misspellings));
  } else {
    std::string list;
    for (const std::string& word : market.words) list += word + " 1\n";
    write_atomically(folder / "words_zh.txt", list);
  }
  return market;
}

}  // namespace steelyard
